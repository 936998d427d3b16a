"""A study of Optuna's: how it is opened, and how a job reports to it."""

from __future__ import annotations

import io
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from fewshot_cli.progress import say
from fewshot_cli.settings.errors import UserError, in_short, nearest

if TYPE_CHECKING:  # an extra
    from optuna import Study

# Our words and Optuna's classes.
SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "nsgaii": "NSGAIISampler",
}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}
PERCENTILE = 25.0  # of the trials at the same meta-validation, which go on
SQLITE = "sqlite:///"
FOLDER, WORDS = "folder", "words"  # what a trial says of its job
BEFORE = ".before_upgrade"  # ends the name of the copy of an earlier release's database


def check(words: Iterable[str]) -> None:
    """Refuse what no study can be told.

    Raises:
        UserError: names the word.
    """
    for word in words:
        key, _, value = word.partition("=")
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if key == f"hydra.sweeper.{name}" and value not in known:
                raise UserError(f"{word}: expected {nearest(value, known)}")
        if key in ("hydra.sweeper.n_trials", "hydra.sweeper.n_jobs") and not (
            value.isdecimal() and int(value)
        ):
            raise UserError(f"{word}: expected a number above 0")


def opened(
    storage: str,
    name: str,
    sampler: str = "random",
    seed: int | None = None,
    pruner: str = "none",
) -> Study:
    """The study of that name, which is made where there is none; it maximises.

    A database of an earlier Optuna is brought up to date, and a copy of the file stays beside it.

    Raises:
        UserError: the storage cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", module="optuna")
    make = getattr(optuna.samplers, SAMPLERS[sampler])
    more = {"percentile": PERCENTILE} if pruner == "percentile" else {}
    try:
        with _alone_with(storage):
            _bring_up_to_date(storage)
            return optuna.create_study(
                storage=storage,
                study_name=name,
                sampler=make(seed=seed),
                pruner=getattr(optuna.pruners, PRUNERS[pruner])(**more),
                direction="maximize",
                load_if_exists=True,
            )
    # Of its database, in the words of SQLAlchemy or of a server; or a sampler that needs a package.
    except Exception as error:
        raise UserError(
            f"hydra.sweeper.storage={storage}: {in_short(error)}; expected a database that Optuna "
            "can open"
        ) from error


def _alone_with(storage: str) -> AbstractContextManager[object]:
    """Of two commands that open a new SQLite file at once, the second would find it half made."""
    if not storage.startswith(SQLITE):
        return nullcontext()
    file = Path(storage.removeprefix(SQLITE))
    return FileLock(file.with_name(f".{file.name}.lock"))


def _bring_up_to_date(storage: str) -> None:
    from optuna.storages import RDBStorage

    file = Path(storage.removeprefix(SQLITE))
    if not storage.startswith(SQLITE) or not file.is_file():
        return
    database = RDBStorage(storage, skip_compatibility_check=True)
    earlier = database.get_current_version()
    if earlier == database.get_head_version():
        return
    shutil.copy(file, file.with_name(file.name + BEFORE))
    with redirect_stderr(io.StringIO()):  # alembic tells of each step
        database.upgrade()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    say(f"{file}: was of an earlier Optuna ({earlier}) and is of this one now")


def known(storage: str, name: str) -> Study:
    """A study that is there, to look at.

    Raises:
        UserError: there is none of that name, or the storage cannot be opened.
    """
    import optuna

    try:
        names = optuna.get_all_study_names(storage)
    except Exception:  # `opened` says why, or brings up to date what is of an earlier Optuna
        return opened(storage, name)
    if name not in names:
        raise UserError(f"study {name}: not in {storage}; expected {nearest(name, names) or 'one'}")
    return opened(storage, name)


def judge(told: Mapping[str, Any], folder: str) -> Callable[[int, float], bool]:
    """What a job asks after each meta-validation: whether its trial is pruned.

    Args:
        told: Hydra's settings of the sweeper.
        folder: the name of the job's, which its trial knows.
    """

    def nobody(iteration: int, goodness: float) -> bool:
        return False

    if not str(told.get("_target_")).endswith("OptunaSweeper"):
        return nobody
    import optuna

    study = opened(told["storage"], told["study_name"], pruner=told["pruner"])
    mine = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.user_attrs.get(FOLDER) == folder and not trial.state.is_finished()
    ]
    if not mine:
        return nobody
    trial = optuna.trial.Trial(study, mine[-1]._trial_id)

    def judged(iteration: int, goodness: float) -> bool:
        try:
            trial.report(goodness, iteration)
            return trial.should_prune()
        # Of a database that is busy or away: the job goes on without it.
        except Exception as error:
            say(f"fewshot: {told['storage']}: {in_short(error)}; this meta-validation is not told")
            return False

    return judged
