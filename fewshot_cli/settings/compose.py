"""From overrides to a checked `Config`, by Hydra; whatever is wrong with them in one line."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf

from fewshot_cli.settings import choices, hydra_private
from fewshot_cli.settings.checks import check
from fewshot_cli.settings.choices import all_keys
from fewshot_cli.settings.errors import MANY, UserError, nearest, one_line
from fewshot_cli.settings.schema import Config, Role, keys, lookup

CONF = "fewshot_cli.conf"
VERSION = "1.3"
ONE_RUN = "hydra.mode=RUN"

# conf/config.yaml begins with it: Hydra checks each key and value against its types.
ConfigStore.instance().store(name="schema", node=all_keys())
KEYS = keys(all_keys())
REFERENCE = re.compile(r"\$\{(?!oc\.env:)")  # to another key, whose value may be another


@dataclass(frozen=True)
class Job:
    """One run of those that overrides ask for."""

    overrides: list[str]
    swept: str  # the part of them in which it differs from the others: "algo=maml,seed=1"
    config: Config


@dataclass(frozen=True)
class Single:
    """One run, with all that Hydra composes for it, its own settings included."""

    config: Config
    composed: DictConfig


def job_config(overrides: list[str], config_dir: Path | None = None) -> Config:
    """The config of one run.

    Raises:
        UserError: names the override that is wrong.
    """
    return single(overrides, config_dir).config


def single(overrides: list[str], config_dir: Path | None = None, trusted: bool = False) -> Single:
    """One run, checked.

    Args:
        trusted: files of `config_dir` may change Hydra's own settings, which can run any code.

    Raises:
        UserError: names the override that is wrong.
    """
    with explained(config_dir), initialize("job"):
        parsed = parse(overrides)
        for override in parsed:
            _refuse_no_setting(override)
            if override.is_sweep_override():
                raise UserError(f"{override.input_line}: several values need -m (--multirun)")
        words = [*overrides, *search_path(config_dir), ONE_RUN]
        if config_dir is not None and not trusted:
            _refuse_hydra_changed_by_files(config_dir, words, [*_told_to_hydra(parsed), ONE_RUN])
        composed = compose("config", overrides=words, return_hydra_config=True)
        config = to_config(without_hydra(composed), config_dir, told=overrides)
    _refuse_unread(parsed, [config])
    _refuse_trust_of_files(parsed, [config])
    _check(config)
    return Single(config, composed)


def jobs(overrides: list[str], config_dir: Path | None = None, trusted: bool = False) -> list[Job]:
    """All jobs that the overrides of a sweep ask for, each checked, and each once.

    Of a range that a sweeper searches (`interval(a,b)`), the ends. An override that only some of
    the jobs read is no part of the others.

    Args:
        trusted: files of `config_dir` may change Hydra's own settings, which can run any code.

    Raises:
        UserError: names the override that is wrong, in whichever job it is.
    """
    with explained(config_dir), initialize():
        parsed = parse(overrides)
        for override in parsed:
            _refuse_no_setting(override)
        told = _told_to_hydra(parsed)
        extra = [*told, *search_path(config_dir)]
        ours = _ends([each for each in parsed if not each.key_or_group.startswith("hydra")])
        swept = {o.get_key_element() for o in ours if o.is_sweep_override()}
        found, alike = dict[tuple[str, ...], Job](), dict[tuple[str, ...], _Alike]()
        parsed_once = cache(_parser().parse_override)
        for words in hydra_private.combinations(ours):
            plain = {word: parsed_once(word) for word in words if is_plain(parsed_once(word))}
            chosen = [word for word in words if word not in plain]
            if (*chosen,) not in alike:
                if config_dir is not None and not trusted:
                    _refuse_hydra_changed_by_files(config_dir, [*words, *extra], told)
                alike[(*chosen,)] = _Alike(chosen, extra, config_dir)
            config = alike[(*chosen,)].config(words, plain)
            read = [word for word in words if _is_read(word.partition("=")[0], config)]
            differs = ",".join(word for word in read if word.partition("=")[0] in swept)
            found.setdefault(tuple(read), Job(read, differs, config))
    _refuse_unread(ours, [job.config for job in found.values()])
    _refuse_trust_of_files(ours, [job.config for job in found.values()])
    for job in found.values():
        _check(job.config)
    return list(found.values())


def initialize(name: str = "fewshot") -> Any:
    """Make our groups known to Hydra inside a `with`; `.hydra/hydra.yaml` calls its jobs so."""
    initialized = initialize_config_module(CONF, job_name=name, version_base=VERSION)
    hydra_private.forget_optuna_plugin()  # which is imported by now
    return initialized


def without_hydra(composed: DictConfig) -> DictConfig:
    """What Hydra composes, less its own settings."""
    ours = OmegaConf.masked_copy(composed, [str(name) for name in composed if name != "hydra"])
    assert isinstance(ours, DictConfig)
    return ours


def _told_to_hydra(parsed: Iterable[Override]) -> list[str]:
    return [str(each.input_line) for each in parsed if each.key_or_group.startswith("hydra")]


def is_plain(override: Override) -> bool:
    """Whether it sets one of our keys; a group's choice brings keys of its own."""
    return override.type is OverrideType.CHANGE and override.get_key_element() in KEYS


class _Alike:
    """The jobs of a sweep that make the same choices: Hydra composes, which takes long, once.

    Args:
        chosen: the overrides that choose.
        extra: those that are no settings.
    """

    def __init__(self, chosen: list[str], extra: list[str], config_dir: Path | None) -> None:
        self.chosen, self.extra, self.config_dir = chosen, extra, config_dir
        self.first: tuple[dict[str, Override], DictConfig, Config] | None = None
        self.values = dict[str, Any]()

    def config(self, words: list[str], plain: dict[str, Override]) -> Config:
        """The config of the job with these overrides.

        Args:
            plain: those of them that set a key.
        """
        try:
            if self.first is not None:
                return self._changed(plain)
            composed = compose("config", overrides=[*self.chosen, *self.extra])
            for override in plain.values():
                OmegaConf.update(composed, override.key_or_group, override.value())
        # What is wrong, in Hydra's own words for all of it.
        except Exception:
            composed = compose("config", overrides=[*words, *self.extra])
            return to_config(composed, self.config_dir, told=words)
        config = to_config(composed, self.config_dir, told=words)
        if not REFERENCE.search(OmegaConf.to_yaml(composed)):
            whole = OmegaConf.merge(_schema(), composed)
            assert isinstance(whole, DictConfig)
            self.first = plain, whole, config
        return config

    def _changed(self, plain: dict[str, Override]) -> Config:
        """The first job's config where only numbers and words are others.

        Raises:
            Exception: more is.
        """
        assert self.first is not None
        before, whole, first = self.first
        keys = [override.key_or_group for override in plain.values()]
        if keys != [override.key_or_group for override in before.values()]:
            raise ValueError("other keys")
        if len({*keys}) < len(keys):
            raise ValueError("a key twice, of which the last counts")
        config = copy.deepcopy(first)
        for word, override in plain.items():
            key = override.key_or_group
            if word in before or not _is_read(key, config):
                continue
            if word not in self.values:
                OmegaConf.update(whole, key, override.value())
                self.values[word] = OmegaConf.select(whole, key)
            value = self.values[word]
            if isinstance(value, DictConfig | ListConfig) or REFERENCE.search(word):
                raise ValueError("more than a number or a word")
            group, _, name = key.rpartition(".")
            setattr(lookup(config, group) if group else config, name, value)
        _make_absolute(config)
        return config


def _ends(overrides: list[Override]) -> list[Override]:
    """The same overrides, with the ends of a continuous range in its place."""
    ends = []
    for override in overrides:
        value = override.value()
        if isinstance(value, IntervalSweep):
            ends += parse([f"{override.get_key_element()}={value.start},{value.end}"])
        else:
            ends.append(override)
    return ends


def changed_config(saved: Path, overrides: list[str], may_change: Iterable[str]) -> Config:
    """The config that a run was made with, changed by overrides.

    Args:
        saved: a run's config.yaml.
        may_change: the keys that an override may name. `data` takes the whole group from the file
            of that name; `data=NAME:ROOT` says its `data.root` too.

    Raises:
        UserError: names the file or the override that is wrong.
    """
    parsed, changed = _changed(saved, overrides, may_change)
    _refuse_unread(parsed, [changed])
    return changed


def changed_configs(
    saved: Path, overrides: list[str], may_change: Iterable[str]
) -> tuple[list[Config], list[str]]:
    """What `changed_config` gives for each combination of the values in the overrides, once.

    An override that only some of the combinations read is no part of the others. `data=NAME` of
    the run's own data is that data as it was.

    Returns:
        The configs, the last override changing fastest, and the keys with several values.

    Raises:
        UserError: as `changed_config`, in whichever combination it is.
    """
    with explained(None):
        parsed = OverridesParser.create().parse_overrides(overrides)
        for override in parsed:
            _refuse_no_setting(override)
            if override.is_sweep_override() and not override.is_choice_sweep():
                raise UserError(f"{override.input_line}: expected values with commas between them")
        combinations = hydra_private.combinations(parsed)
    allowed, own = set(may_change), _changed(saved, [], ())[1].data.name
    found = dict[tuple[str, ...], Config]()
    for combination in combinations:
        words = [word for word in combination if word != f"data={own}"]
        config = _changed(saved, words, allowed)[1]
        read = [word for word in combination if _is_read(word.partition("=")[0], config)]
        found.setdefault(tuple(read), config)
    configs = list(found.values())
    _refuse_unread(parsed, configs)
    return configs, [each.key_or_group for each in parsed if each.is_sweep_override()]


def _changed(
    saved: Path, overrides: list[str], may_change: Iterable[str]
) -> tuple[list[Override], Config]:
    """The overrides and the changed config, which may not read all of them."""
    if not saved.is_file():
        raise UserError(f"{saved.parent}: expected a run directory, which has a {saved.name}")
    here = job_config([])
    with explained(None):
        config = OmegaConf.load(saved)
        assert isinstance(config, DictConfig)
        # The run may come from another machine.
        config.cache_dir = here.cache_dir
        if OmegaConf.select(config, "data.kind") == "folder":  # early releases did not record it
            config.data.setdefault("least", config.ways)
        if "trust" in config.data:  # no run says for itself that its code may be run
            config.data.trust = False
        parsed = OverridesParser.create().parse_overrides(overrides)
        allowed = set(may_change)
        for override in parsed:
            _refuse_no_setting(override)
            if override.key_or_group not in allowed:
                raise UserError(
                    f"{override.key_or_group}: cannot be changed afterwards; "
                    f"expected {_may_change(override.key_or_group, allowed)}"
                )
            if override.is_sweep_override():
                raise UserError(
                    f"{override.input_line}: expected one value; `fewshot evaluate -m` takes more"
                )
        for override in parsed:  # groups first, as Hydra does it
            if override.key_or_group == "data":
                config.data = _data(str(override.value()))
        reads = {
            group: _reads(group, config[group].get("name")) | frozenset(map(str, config[group]))
            for group in GROUPS
        }
        config = OmegaConf.merge(OmegaConf.structured(all_keys()), config)
        for override in parsed:
            if override.key_or_group != "data":
                OmegaConf.update(config, override.key_or_group, override.value(), merge=False)
        changed = to_config(config, reads=reads)
    _check(changed)
    return parsed, changed


def _data(chosen: str) -> dict[str, Any]:
    """What the file of `NAME` or `NAME:ROOT` holds, with that root."""
    name, _, root = chosen.partition(":")
    content = _option("data", name).content()
    if not root:
        return content
    if "root" not in content:
        raise UserError(f"data={chosen}: data={name} has no root; expected data={name}")
    return content | {"root": root}


def _may_change(wrong: str, allowed: set[str]) -> str:
    """What to offer in the place of a key that is not allowed: what is close, else all in short."""
    close = nearest(wrong, allowed)
    if close.split(" or ")[0] in allowed:
        return close
    short = allowed - FIXED
    for group in {name.partition(".")[0] for name in KEYS if "." in name}:
        of_group = {name for name in KEYS if name.startswith(f"{group}.")} - FIXED
        if of_group <= allowed:
            short = short - of_group | {f"{group}.*"}
    return ", ".join(sorted(short))


def _option(group: str, name: object, config_dir: Path | None = None) -> choices.Option:
    options = {option.name: option for option in choices.options(group, config_dir)}
    if name not in options:
        raise UserError(f"{group}={name}: expected {nearest(str(name), options)}")
    return options[str(name)]


GROUPS = tuple(choices.CODE)
FIXED = {name for name, key in KEYS.items() if key.role in (Role.choice, Role.fact)} | {
    f"tracker.{name}" for name in ("name", "kind")
}
JOB = ("chdir", "env_set", "env_copy")  # of hydra.job, what changes the process
TOLD_TO_HYDRA = ("hydra.run.dir", "hydra.sweep.dir", "hydra.launcher.", "hydra.sweeper.")


def _refuse_no_setting(override: Override) -> None:
    """Overrides that are well formed and yet set nothing that a user may set."""
    line, key = override.input_line, override.key_or_group
    if not key:
        raise UserError(f"{line}: expected KEY=VALUE or GROUP=CHOICE")
    if override.is_delete():
        raise UserError(f"{line}: a setting can be changed, not removed")
    if key.startswith("hydra.") and not key.startswith(TOLD_TO_HYDRA):
        told = ", ".join(f"{may}*" if may[-1] == "." else may for may in TOLD_TO_HYDRA)
        raise UserError(f"{line}: of Hydra's own settings, expected {told}")
    if "_target_" in key.split(".") or "_target_" in str(line).partition("=")[2]:
        raise UserError(f"{line}: a config names no Python code; expected hydra/launcher=NAME")
    if key in ("hydra.run.dir", "hydra.sweep.dir") and "${" in str(line):
        raise UserError(f"{line}: expected a plain path")
    if key in FIXED:
        group = key.partition(".")[0]
        raise UserError(f"{key}: tells what the {group} is; expected another choice, {group}=...")
    within = [name.removeprefix(f"{key}.") for name in KEYS if name.startswith(f"{key}.")]
    if (
        within
        and key not in choices.SHOWN
        and isinstance(override.value(), str | int | float | list)
    ):
        values = ",".join(f"{name}:..." for name in within)
        raise UserError(
            f"{line}: holds several keys; expected {key}.{within[0]}=... or '{key}={{{values}}}'"
        )
    if key.startswith("hydra.launcher.ray."):  # of Hydra's own launcher, in the first releases
        raise UserError(_no_such_key(key))
    known = key in (*KEYS, *choices.SHOWN)
    if not known and (override.is_add() or override.is_force_add()):
        raise UserError(_no_such_key(key))


def _refuse_hydra_changed_by_files(config_dir: Path, job: list[str], told: list[str]) -> None:
    """Callbacks, logging, launchers and the environment can run any code: files may not name them.

    Args:
        told: the overrides of Hydra's settings on the command line, which the user typed.
    """
    ours, theirs = (
        OmegaConf.to_container(
            compose("config", overrides=overrides, return_hydra_config=True).hydra, resolve=False
        )
        for overrides in (told, job)
    )
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    for key in sorted(set(ours) | set(theirs)):
        # These say only what was composed; `job` holds its name and its overrides too.
        if key in ("runtime", "overrides", "searchpath", "verbose"):
            continue
        if key == "job":
            ours[key], theirs[key] = ({k: side[key].get(k) for k in JOB} for side in (ours, theirs))
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"--config-dir {config_dir}: a file there sets hydra.{key}, which can run any "
                "code; expected only our groups, or --trust-config-dir"
            )


def search_path(config_dir: Path | None) -> list[str]:
    """The override that makes Hydra look into a user's own folder of groups too."""
    if config_dir is None:
        return []
    return [f"hydra.searchpath=[{quoted(f'file://{config_dir.resolve()}')}]"]


def quoted(text: object) -> str:
    """The text as a value of Hydra's grammar, whatever letters it has.

    A backslash counts for itself there, but where it stands before a quote.
    """
    return "'" + re.sub(r"(\\*)('|\Z)", _before_quote, str(text)) + "'"


def _before_quote(found: re.Match[str]) -> str:
    return 2 * found[1] + (found[2] and "\\'")


def searched(search_path: Iterable[str]) -> Path | None:
    """The user's own folder of groups, from Hydra's setting that `search_path` made."""
    return next((Path(each.removeprefix("file://")) for each in search_path), None)


def to_config(
    composed: object,
    config_dir: Path | None = None,
    reads: dict[str, frozenset[str]] | None = None,
    told: Iterable[str] = (),
) -> Config:
    """The typed config; every interpolation resolved, every key present.

    Args:
        told: the overrides, of which Hydra's result does not show that a group has several choices.
        reads: for each group the keys that its choice reads; none: those that its file lists.
    """
    assert isinstance(composed, DictConfig)
    if trackers := _several_trackers(told):
        options = [_option("tracker", name, config_dir) for name in trackers]
        composed.tracker.name = ",".join(trackers)
        kinds = dict.fromkeys(str(option.content()["kind"]) for option in options)
        composed.tracker.kind = ",".join(kinds)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]}: expected a value, e.g. {missing[0]}=...")
    # The schema once more, since Hydra's + lets keys in that it does not have.
    merged = OmegaConf.merge(_schema(), composed)
    whole_config = OmegaConf.to_object(merged)
    config = Config(**vars(whole_config))
    for group in GROUPS:
        whole = getattr(config, group)
        known = choices.own_keys(group, whole.kind)
        listed = reads[group] if reads else _reads(group, whole.name, config_dir)
        read = listed or frozenset(map(str, composed[group]))
        names = {each.name for each in fields(known)}  # type: ignore[arg-type]
        chosen = known(**{name: getattr(whole, name) for name in names & read})
        chosen.reads = frozenset(names & read)
        setattr(config, group, chosen)
    if config.model.sized:
        config.data.reads -= {"image_size"}
    _make_absolute(config)
    return config


@cache
def _schema() -> DictConfig:
    """Every key there is with its type. A merge copies it."""
    schema: DictConfig = OmegaConf.structured(all_keys())
    return schema


def _make_absolute(config: Config) -> None:
    """A path means the same wherever a job runs."""
    data = vars(config.data)  # which may have keys of its own
    for key in ("root", "split_file", "labels", "module"):
        if data.get(key) is not None:
            data[key] = os.path.abspath(os.path.expanduser(data[key]))
    if data["root"] is None and data.get("labels") is not None:
        data["root"] = os.path.dirname(data["labels"])
    if config.init is not None:
        config.init = os.path.abspath(os.path.expanduser(config.init))
    own = vars(config.model)  # which may have a file of weights
    if own.get("weights") not in (None, "imagenet", "none"):
        own["weights"] = os.path.abspath(os.path.expanduser(own["weights"]))


def _reads(group: str, name: object, config_dir: Path | None = None) -> frozenset[str]:
    """The keys that a choice reads: those that its file lists. Without a file, none."""
    files = {option.name: option for option in choices.options(group, config_dir)}
    names = str(name).split(",")  # of several trackers
    return frozenset[str]().union(*(files[each].keys() for each in names if each in files))


def _several_trackers(told: Iterable[str]) -> list[str]:
    """The names in `tracker=[A,B]`; none where one tracker is chosen, or none is."""
    chosen = [word for word in told if word.startswith("tracker=")][-1:]
    value = OverridesParser.create().parse_override(chosen[0]).value() if chosen else None
    return list(dict.fromkeys(map(str, value))) if isinstance(value, list) else []


def _is_read(name: str, config: Config) -> bool:
    """Whether a dotted key is one that a run reads; a group and whatever is in none are."""
    group, _, rest = name.partition(".")
    return group not in GROUPS or not rest or rest.partition(".")[0] in getattr(config, group).reads


def _check(config: Config) -> None:
    check(config)
    for group, (package, _) in choices.CODE.items():
        kind = getattr(config, group).kind
        for each in config.tracker.kinds if group == "tracker" else [kind]:
            choices.check(package, each)


def parse(overrides: list[str]) -> list[Override]:
    """What Hydra's grammar makes of the overrides; inside a `with` that initialises Hydra."""
    return _parser().parse_overrides(overrides)


def _parser() -> OverridesParser:
    return OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())


def _refuse_unread(overrides: Iterable[Override], configs: list[Config]) -> None:
    """A key that no job of these overrides reads is a mistake, not a setting."""
    for override in overrides:
        key = override.key_or_group
        if any(_is_read(key, config) for config in configs):
            continue
        group = key.partition(".")[0]
        if key == "data.image_size":
            raise UserError(
                f"{key}: model={configs[0].model.name} has a size of its own; expected "
                "model.image_size"
            )
        chosen = [getattr(config, group) for config in configs]
        names = sorted({str(each.name) for each in chosen})
        read = {f"{group}.{name}" for each in chosen for name in each.reads} - FIXED
        raise UserError(
            f"{key}: {group}={','.join(names)} does not read it; expected {nearest(key, read)}"
        )


def _refuse_trust_of_files(typed: Iterable[Override], configs: Iterable[Config]) -> None:
    """Only who types it says that a file of Python is run, and which."""
    names = {override.key_or_group for override in typed}
    for config in configs:
        for key in ("data.module", "data.trust"):
            if getattr(config.data, "trust", False) and key not in names:
                raise UserError(
                    f"{key}={lookup(config, key)}: comes from a file; to run code, type both "
                    "data.module=FILE and data.trust=true"
                )


@contextmanager
def explained(config_dir: Path | None) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a UserError that is one line.

    Raises:
        UserError: for everything that is wrong with the composition inside the `with`.
    """
    if config_dir is not None:
        if not config_dir.is_dir():
            raise UserError(f"--config-dir {config_dir}: expected a folder of groups")
        for group in choices.SHOWN:
            choices.options(group, config_dir)
    try:
        yield
    except OverrideParseException as error:
        raise UserError(f"{error.override}: expected KEY=VALUE or GROUP=CHOICE") from error
    except MissingConfigException as error:
        raise UserError(_no_such_choice(error, config_dir)) from error
    except yaml.YAMLError as error:
        raise UserError(f"{one_line(error)}: expected YAML") from error
    except UserError:
        raise
    # Odd overrides make Hydra fail with errors of many kinds, not only its own.
    except Exception as error:
        raise UserError(_wrong_override(error)) from error


def _no_such_choice(error: MissingConfigException, config_dir: Path | None) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if group not in choices.SHOWN:
        return one_line(str(error).partition("Config search path")[0])
    names = [option.name for option in choices.options(group, config_dir)]
    close = nearest(name, names)
    more = f"; `fewshot ls {group}` shows all {len(names)}" if len(names) > MANY else ""
    return f"{group}={name}: expected {close}{more if close in names else ''}"


def _wrong_override(error: Exception) -> str:
    text = "\n".join(map(str, _causes(error)))
    named = re.search(r"Could not (?:override|append to config|delete from config) '([^'=]+)", text)
    full = re.search(r"full_key: (\S+)", text)
    key = full[1] if full else named[1] if named else ""
    value = re.search(r"^((?:Value|Invalid|field) .*)$", text, re.MULTILINE)
    neither = re.search(r"^Value '(.*)' of type '.*' is incompatible with type hint", text, re.M)
    if neither and key in KEYS and KEYS[key].spellings:
        return f"{key}={neither[1]}: expected {nearest(neither[1], KEYS[key].spellings)}"
    if key and value:
        return f"{key}: {value[1]}"
    if named and "Error merging" not in text:
        return _no_such_key(named[1])
    if full:
        why = re.sub(r"Error merging override .*\n", "", text.partition("full_key:")[0])
        return f"{key}: {one_line(why)}"
    return one_line(text)


def _no_such_key(key: str) -> str:
    if key.startswith("hydra.launcher.ray."):
        keys = [f"hydra.launcher.{name}" for name in choices.told_to("launcher", "ray")]
        return f"{key}: no such key; expected {nearest(key, keys)}"
    # What Hydra's own plugin for Optuna was told, perhaps.
    if key.startswith(("hydra.sweeper.", "hydra/sweeper/")):
        names = ["max_batch_size", *choices.told_to("sweeper", "optuna")]
        close = nearest(re.split("[./]", key)[-1], names, len(names))
        return f"{key}: no such key; of hydra.sweeper, expected {close}"
    return f"{key}: no such key; expected {nearest(key, [*KEYS, *choices.SHOWN])}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
