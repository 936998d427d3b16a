"""All of Hydra's private API that this project uses; tried with Hydra 1.3.8 and 1.4.0rc3.

Hydra's public way in is `hydra.main`, which reads the command line again (and fails in argparse on
Python 3.14), and `compose`, which runs nothing. What stands between the two is private:

- `run`: one job with its `.hydra/`, as launchers run theirs, and with the callbacks around it;
- `record`: that `.hydra/`, for a job that writes it itself;
- `sweep_context`: what Hydra's own sweepers hand to a launcher, with a loader that composes less;
- `is_basic`: which launcher Hydra itself brings;
- `add_plugin`: a plugin of ours, which Hydra knows only from the package `hydra_plugins`;
- `forget_optuna_plugin`: what an older plugin says of the name that is ours now;
- `combinations`: what `seed=1,2 algo=maml,reptile` asks for, by Hydra's own sweeper;
- `completions`: what a word on the command line can become.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, _save_config, run_job
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

Task = Callable[[DictConfig], Any]


def run(task: Task, composed: DictConfig) -> None:
    """One job in the folder `hydra.run.dir`. Inside a `with` that initialises Hydra."""
    context = _context(composed)
    context.callbacks.on_run_start(config=composed, config_name="config")
    done = run_job(
        task_function=task,
        config=composed,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        hydra_context=context,
    )
    context.callbacks.on_run_end(config=composed, config_name="config", job_return=done)
    if done.status is JobStatus.FAILED:
        raise done._return_value  # `return_value` would print a line of its own first


def record(composed: DictConfig) -> None:
    """Leave `.hydra/` in the folder of the job that this process is at work on."""
    told: Any = HydraConfig.instance().cfg
    folder = Path(told.hydra.runtime.output_dir) / ".hydra"
    _save_config(composed, "config.yaml", folder)
    _save_config(told, "hydra.yaml", folder)
    _save_config(told.hydra.overrides.task, "overrides.yaml", folder)


def sweep_context(overrides: list[str]) -> tuple[HydraContext, DictConfig]:
    """For a sweeper or a launcher. Inside a `with` that initialises Hydra."""
    config = (
        GlobalHydra.instance()
        .config_loader()
        .load_configuration("config", [*overrides, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
    )
    context = _context(config)
    context.config_loader = _Loader(context.config_loader.get_search_path())
    return context, config


def _context(config: DictConfig) -> HydraContext:
    return HydraContext(GlobalHydra.instance().config_loader(), Callbacks(config))


# By the overrides of Hydra and those that choose. Of a process, since a launcher's workers get a
# new loader with each job.
_composed: dict[tuple[str, ...], DictConfig] = {}


class _Loader(ConfigLoaderImpl):
    """Composes once what jobs with the same choices share, and then sets what else each is told."""

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        parsed = OverridesParser.create(config_loader=self).parse_overrides(sweep_overrides)
        plain = [
            each
            for each in parsed
            if each.type is OverrideType.CHANGE
            and not self.repository.group_exists(each.key_or_group)
        ]
        chosen = [str(each.input_line) for each in parsed if each not in plain]
        # Unresolved: an override may name what only a job has.
        told = OmegaConf.to_container(master_config.hydra.overrides.hydra)
        alike = (str(told), *chosen)
        if alike not in _composed:
            _composed[alike] = super().load_sweep_config(master_config, chosen)
        config = copy.deepcopy(_composed[alike])
        self._apply_overrides_to_config(plain, config)
        for each in plain:
            if each.is_hydra_override():
                config.hydra.overrides.hydra.append(each.input_line)
        ours = [each for each in parsed if not each.is_hydra_override()]
        config.hydra.overrides.task = [each.input_line for each in ours]
        with open_dict(config.hydra):
            config.hydra.job.override_dirname = get_overrides_dirname(
                ours, **config.hydra.job.config.override_dirname
            )
        return config


def is_basic(launcher: Launcher) -> bool:
    """Whether it runs one job after another in its own process."""
    return isinstance(launcher, BasicLauncher)


def add_plugin(plugin: type[Plugin]) -> None:
    """Make `_target_: hydra_plugins.fewshot.NAME` in conf/hydra/ mean this launcher or sweeper.

    A module of that package would be found in a wheel alone: Hydra does not see those that an
    editable install maps.
    """
    Plugins.instance().class_name_to_class[f"hydra_plugins.fewshot.{plugin.__name__}"] = plugin


def forget_optuna_plugin() -> None:
    """Take away what Hydra's own plugin for Optuna, where it is installed, says of
    `hydra/sweeper=optuna`: ours has that name, and Hydra would check it against the plugin's.
    """
    store: Any = ConfigStore.instance().repo
    store.get("hydra", {}).get("sweeper", {}).pop("optuna.yaml", None)


def combinations(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job, the last one changing fastest."""
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(words) for words in jobs]


def completions(word: str) -> list[str]:
    """What a word of the command line can become. Inside a `with` that initialises Hydra.

    Hydra's own query goes through its argparse parser, which fails on Python 3.14.
    """
    completion = BashCompletion(GlobalHydra.instance().config_loader())
    key, path = completion._get_filename(word)
    if path is not None:
        return [f"{key}{file}" for file in completion.complete_files(path)]
    choices, whole = completion._query_config_groups(word, config_name="config", words=[])
    return choices if whole else [*choices, *completion._get_matches(compose("config"), word)]
