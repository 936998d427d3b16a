"""What can be chosen: the YAML files of each group, and the keys that their code declares."""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import dataclass, fields, make_dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from omegaconf import MISSING

from fewshot_cli.settings import schema
from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.schema import (
    AlgoConfig,
    Config,
    DataConfig,
    Group,
    ModelConfig,
    Role,
    TrackerConfig,
    key,
)

# For each group the package with its code, and the keys that its choices share.
CODE: dict[str, tuple[str, type[Group]]] = {
    "data": ("data", DataConfig),
    "model": ("models", ModelConfig),
    "algo": ("algorithms", AlgoConfig),
    "tracker": ("trackers", TrackerConfig),
}
PACKAGE = Path(__file__).parents[1]
NO_KINDS = {"base", "task"}
# Keys that the first releases wrote, of what a choice's code says now: read over until version 2.
RETIRED = {
    "data": ("regression", "counted"),
    "model": ("images_only", "smallest_image"),
    "algo": ("compilable", "pretrains", "classifies"),
}
SHOWN = ("data", "model", "algo", "tracker", "experiment")


@dataclass(frozen=True)
class Option:
    group: str
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def description(self) -> str:
        """The first comment that is no Hydra header."""
        found = re.search(r"^#(?! *@package) *(.+)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    def content(self) -> dict[str, Any]:
        """What the file says of its own group."""
        content: Any = yaml.load(self.text, Loader=yaml.CSafeLoader) or {}
        return dict(content.get(self.group, content))

    def keys(self) -> set[str]:
        """The keys of its group that this choice reads: those that its file lists."""
        return set(self.content())


def shipped() -> Path:
    """The folder conf/, from the checkout or from the wheel."""
    return Path(str(resources.files("fewshot_cli.conf")))


def told_to(kind: str, name: str) -> list[str]:
    """The keys of a launcher or sweeper of ours, as `hydra.launcher.` or `hydra.sweeper.` has them.

    Args:
        kind: launcher or sweeper.
    """
    file = shipped() / "hydra" / kind / f"{name}.yaml"
    keys = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [key for key in keys if not key.startswith("_")]


def options(group: str, config_dir: Path | None = None) -> list[Option]:
    """The choices of a group, by name.

    Raises:
        UserError: there is no such group, or a user's own file has the name of a shipped one,
            which Hydra would take instead.
    """
    found = {path.stem: Option(group, path) for path in (shipped() / group).glob("*.yaml")}
    for path in (config_dir / group).glob("*.yaml") if config_dir else ():
        if path.stem in found:
            raise UserError(f"{path}: {group}={path.stem} is shipped; expected another file name")
        found[path.stem] = Option(group, path)
    if not found:
        raise UserError(f"group {group}: expected one of {', '.join(SHOWN)}")
    return [found[name] for name in sorted(found)]


def defaults() -> dict[str, str]:
    """The choice that each group has when nothing is said."""
    content = yaml.safe_load((shipped() / "config.yaml").read_text(encoding="utf-8"))
    entries = [entry for entry in content["defaults"] if isinstance(entry, dict)]
    return {group: name for entry in entries for group, name in entry.items() if group in SHOWN}


@cache
def kinds(package: str) -> set[str]:
    """What `kind` may be: the files of a package."""
    return {path.stem for path in (PACKAGE / package).glob("[a-z]*.py")} - NO_KINDS


def check(package: str, kind: str) -> None:
    """Refuse a kind that is no file of one of our own packages: a config reaches no other code.

    Raises:
        UserError: names the kinds that there are.
    """
    if kind not in kinds(package):
        offered = nearest(kind, kinds(package))
        raise UserError(f"kind={kind}: expected a file of fewshot_cli/{package}, {offered}")


def code(package: str, kind: str) -> ModuleType:
    """The file that a `kind` names: `kind: maml` in conf/algo is algorithms/maml.py.

    Raises:
        UserError: there is no such file.
    """
    check(package, kind)
    return importlib.import_module(f"fewshot_cli.{package}.{kind}")


def function(package: str, kind: str, name: str) -> Any:
    """A function of that file.

    Raises:
        UserError: there is no such file, or it lacks the function.
    """
    file = code(package, kind)
    if not hasattr(file, name):
        raise UserError(f"kind={kind}: fewshot_cli/{package}/{kind}.py has no `{name}`")
    return getattr(file, name)


def own_keys(group: str, kind: str) -> type[Group]:
    """The keys of a kind: those of its group, and those that its file of code adds.

    A file adds keys by a dataclass that derives from the group's. Only that class is run, beside
    the names of schema.py, so that no key costs the import of torch.
    """
    kinds = kind.split(",")
    if not all(map(str.isidentifier, kinds)):  # a saved config may hold anything, a path included
        return CODE[group][1]
    return _declared(group, kind) if len(kinds) == 1 else _together(group, kind)


@cache
def _together(group: str, kind: str) -> type[Group]:
    """The keys of several kinds, which stand in `kind` with commas between."""
    shared = CODE[group][1]
    own = dict.fromkeys(_declared(group, each) for each in kind.split(","))
    bases = tuple(each for each in own if each is not shared)
    return _found_again(
        make_dataclass(f"Several{shared.__name__}", [], bases=bases or (shared,)), group, kind
    )


@cache
def _declared(group: str, kind: str) -> type[Group]:
    package, shared = CODE[group]
    file = PACKAGE / package / f"{kind}.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if f"({shared.__name__})" not in text:
        return shared
    declaration, *more = (
        node
        for node in ast.parse(text, str(file)).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == shared.__name__ for base in node.bases)
    )
    if more:
        raise TypeError(f"{file}: declares keys twice; expected one class over {shared.__name__}")
    names = vars(schema) | {"__name__": file.stem}
    code = compile(ast.Module([declaration], []), str(file), "exec", dont_inherit=True)
    exec(code, names)
    declared: type[Group] = names[declaration.name]
    return _found_again(declared, group, kind)


def _found_again(keys: type[Group], group: str, kind: str) -> type[Group]:
    """The class, such that pickles name its kind: by its own name, another would be found."""
    keys.__reduce__ = lambda self: (_again, (group, kind, vars(self)))  # type: ignore[method-assign]
    return keys


def _again(group: str, kind: str, values: dict[str, Any]) -> Group:
    keys = own_keys(group, kind).__new__(own_keys(group, kind))
    vars(keys).update(values)
    return keys


@cache
def all_keys() -> type[Config]:
    """The schema with the keys of all kinds: a sweep may set one that only some of its jobs read.

    Raises:
        TypeError: two kinds declare a key of one name in two ways.
    """
    whole: list[tuple[str, Any, Any]] = []
    for group, (package, shared) in CODE.items():
        added: dict[str, tuple[str, Any, Any]] = {
            name: (name, Any, key(None, role=Role.fact, help="not read any more"))
            for name in RETIRED.get(group, ())
        }
        shares = {each.name for each in fields(shared)}  # type: ignore[arg-type]
        for kind in sorted(kinds(package)):
            for each in fields(_declared(group, kind)):  # type: ignore[arg-type]
                if each.name in shares:
                    continue
                known = added.setdefault(each.name, (each.name, each.type, each))
                if (known[1], known[2].metadata) != (each.type, each.metadata):
                    raise TypeError(
                        f"{package}/{kind}.py: {each.name} is declared otherwise elsewhere"
                    )
        if added:
            whole.append(
                (group, _named(f"All{shared.__name__}", [*added.values()], shared), MISSING)
            )
    return _named("AllConfig", whole, Config)


def _named(name: str, added: list[tuple[str, Any, Any]], base: type[Any]) -> type[Any]:
    """A dataclass that the workers of a launcher find by its name, as the schema reaches them."""
    made = make_dataclass(name, added, bases=(base,))
    made.__module__ = __name__
    globals()[name] = made
    return made


all_keys()
