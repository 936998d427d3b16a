"""A verb is a file that defines a function of its own name: its signature, its help and its body.

Help shows all verbs and so must not import them; what it says stands in the first line of each
function's docstring, which is read without running anything.
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
        name, _, rest = super().resolve_command(ctx, args)
        module = importlib.import_module(f"fewshot_cli.{self.package}.{name}")
        made = getattr(module, str(name))
        if not isinstance(made, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(name)(made)
            made = app
        return name, typer.main.get_command(made), rest


def described(package: str) -> dict[str, str]:
    """The verbs of a package, by name, each with its help."""
    found = {}
    for path in sorted((PACKAGE / package).glob("[a-z]*.py")):
        file = ast.parse(path.read_text(encoding="utf-8"))
        for each in file.body:
            if isinstance(each, ast.FunctionDef) and each.name == path.stem:
                found[path.stem] = ast.get_docstring(each) or ""
            elif isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == path.stem:
                found[path.stem] = ast.get_docstring(file) or ""
    return found
