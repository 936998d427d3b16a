"""hydra/sweeper=optuna: a study of Optuna's chooses each job from how the earlier ones ended.

A command asks the study for trials, has a launcher run them as jobs, and tells the study what the
jobs left on the disk. Several commands may work on one study. A trial whose job is in nobody's
hands any more goes on first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import COMPLETED, FAILED, RunDirectory
from fewshot_cli.settings.errors import UserError, in_short
from fewshot_cli.sweeps import study as studies
from fewshot_cli.sweeps.directory import DIGITS, folder_word, job_folder
from fewshot_cli.training import limits

if TYPE_CHECKING:  # an extra
    from optuna import Study
    from optuna.distributions import BaseDistribution

RESULTS = "optimization_results.yaml"


class OptunaSweeper(Sweeper):
    def __init__(
        self,
        storage: str,
        study_name: str,
        n_trials: int,
        n_jobs: int,
        sampler: str,
        seed: int | None,
        pruner: str,
    ) -> None:
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.storage, self.study_name = storage, study_name
        self.sampler, self.seed, self.pruner = sampler, seed, pruner

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.folder = Path(config.hydra.sweep.dir)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run `n_trials` trials, `n_jobs` at a time, and write optimization_results.yaml.

        Raises:
            UserError: the study cannot be opened, or was begun with another search space.
        """
        study = studies.opened(self.storage, self.study_name, self.sampler, self.seed, self.pruner)
        parsed = OverridesParser.create().parse_overrides(arguments)
        fixed = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
        space = {
            each.get_key_element(): distribution(each)
            for each in parsed
            if each.is_sweep_override()
        }
        _refuse_another_space(study, space)
        asked = (_asked(study, space, fixed) for _ in repeat(None))
        trials = islice(chain(self._left_behind(study), asked), self.n_trials)
        first = 0
        while batch := list(islice(trials, self.n_jobs)):
            runs = {number: RunDirectory(self.folder / name) for number, name, _ in batch}
            try:
                assert self.launcher is not None
                self.launcher.launch(
                    [[*words, folder_word(name)] for _, name, words in batch], first
                )
            except UserError:
                raise
            # Of a worker that was killed: what each job left says which.
            except Exception as error:
                if not any(run.state() for run in runs.values()):
                    raise
                say(f"fewshot: {type(error).__name__}: {in_short(error)}")
            for number, run in runs.items():
                _tell(study, number, run)
            first += len(batch)
        self._write_best(study)

    def _left_behind(self, study: Study) -> Iterator[tuple[int, str, list[str]]]:
        """Trials whose jobs were begun by a command that is gone: number, folder, overrides."""
        for trial in study.get_trials(deepcopy=False):
            name, words = (trial.user_attrs.get(key) for key in (studies.FOLDER, studies.WORDS))
            if trial.state.is_finished() or name is None or words is None:
                continue
            run = RunDirectory(self.folder / name)
            if run.state() is not None and not run.is_written():
                yield trial.number, name, words

    def _write_best(self, study: Study) -> None:
        try:
            best = study.best_trial
        except ValueError:  # no trial is complete
            return
        found = {"name": "optuna", "best_params": best.params, "best_value": best.value}
        OmegaConf.save(OmegaConf.create(found), self.folder / RESULTS)


def distribution(override: Override) -> BaseDistribution:
    """What Optuna draws for an override that has several values; both ends of a range count."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(value.start, value.end, log=log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        start, stop, step = value.start, value.stop, value.step
        assert start is not None
        assert stop is not None
        if isinstance(start, float) or isinstance(stop, float) or isinstance(step, float):
            return FloatDistribution(start, stop, step=step)
        return IntDistribution(start, stop, step=int(step))
    assert isinstance(value, ChoiceSweep | RangeSweep)
    choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
    return CategoricalDistribution(choices)


def _refuse_another_space(study: Study, space: dict[str, BaseDistribution]) -> None:
    """Check that a study may go on with this search space; bounds may be others.

    Raises:
        UserError: names the key whose values are of another kind than in an earlier trial.
    """
    from optuna.distributions import check_distribution_compatibility

    for trial in study.get_trials(deepcopy=False):
        for name in space.keys() & trial.distributions.keys():
            try:
                check_distribution_compatibility(trial.distributions[name], space[name])
            except ValueError as error:
                raise UserError(
                    f"{name}: the study {study.study_name} searched {trial.distributions[name]}; "
                    "expected the same, or another sweep.dir or hydra.sweeper.study_name"
                ) from error


def _asked(
    study: Study, space: dict[str, BaseDistribution], fixed: list[str]
) -> tuple[int, str, list[str]]:
    """A new trial: its number, its job's folder and its overrides."""
    trial = study.ask(space)
    drawn = trial.params.items()
    searched = [f"{name}={'null' if value is None else value}" for name, value in drawn]
    words = [*searched, *fixed]
    # Of the words, since what a job's config will be is not known here.
    digest = hashlib.sha256("\n".join([str(trial.number), *words]).encode()).hexdigest()[:DIGITS]
    name = job_folder(",".join([f"trial={trial.number}", *searched]), digest)
    trial.set_user_attr(studies.WORDS, words)
    trial.set_user_attr(studies.FOLDER, name)
    return trial.number, name, words


def _tell(study: Study, number: int, run: RunDirectory) -> None:
    """Tell the study how a job ended; one that was stopped stays open, and goes on later."""
    from optuna.trial import TrialState

    state = run.state()
    if state == COMPLETED and not run.is_written():
        value = run.best_validation()
        if run.read(run.status).get("stopped") == limits.PRUNED:
            study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        elif value is not None:
            study.tell(number, value, skip_if_finished=True)
        else:
            study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
    elif state == FAILED:
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
