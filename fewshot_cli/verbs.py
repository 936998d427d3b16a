"""A verb is a file that defines a function of its own name: its signature, its help and its body.

`--help` shows all verbs without importing them: their docstrings are read, not run.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

PACKAGE = Path(__file__).parent


class Verbs(TyperGroup):
    """The verbs in the files of a package, each imported when it is called.

    Attributes:
        package: its name below `fewshot_cli`.
    """

    package: str

    def __init__(self, **told: Any) -> None:
        super().__init__(**told)
        for name, words in described(self.package).items():
            self.commands[name] = TyperCommand(name, help=words)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name is None:  # a shell asks for the completion of a line with a wrong verb
            return name, command, rest
        module = importlib.import_module(f"fewshot_cli.{self.package}.{name}")
        made = getattr(module, str(name))
        if not isinstance(made, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(name)(made)
            made = app
        return name, typer.main.get_command(made), rest


def described(package: str) -> dict[str, str]:
    """The verbs of a package, by name, each with its help; what everybody begins with first."""
    found = {}
    files = (PACKAGE / package).glob("[a-z]*.py")
    for path in sorted(files, key=lambda path: (path.stem != "train", path.stem)):
        file = ast.parse(path.read_text(encoding="utf-8"))
        for each in file.body:
            if isinstance(each, ast.FunctionDef) and each.name == path.stem:
                found[path.stem] = ast.get_docstring(each) or ""
            elif isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == path.stem:
                found[path.stem] = ast.get_docstring(file) or ""
    return found
