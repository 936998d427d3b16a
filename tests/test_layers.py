"""Who may import whom: docs/architecture.md has the same table, and the plan of the house."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fewshot_cli"
# Each package with those whose code it may name, beside its own. Whoever is below knows nothing
# of whoever is above.
MAY_IMPORT = {
    "settings": "",
    "stacked": "",
    "data": "settings",
    "models": "settings data",
    "algorithms": "settings stacked data models",
    "runs": "settings",
    "trackers": "settings runs",
    "compare": "settings runs",
    "training": "settings stacked data models algorithms runs trackers",
    "sweeps": "settings runs trackers compare training",
    "inference": "settings stacked data models algorithms runs training",
    "plots": "settings stacked data models algorithms runs trackers training compare sweeps "
    "inference",
    "commands": "settings data runs trackers training sweeps compare inference plots",
}
LEAVES = {"progress", "arguments", "verbs"}  # which import nothing of ours that is not lazy
WITHOUT_TORCH = ["settings", "runs", "compare"]
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The packages of ours that a file names, those in functions included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fewshot_cli":
            _, *parts = str(node.module).split(".")
            found |= {parts[0]} if parts else {each.name for each in node.names}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_reaches_no_further_than_its_row(package: str) -> None:
    allowed = {package, *MAY_IMPORT[package].split(), *LEAVES}
    for file in (PACKAGE / package).rglob("*.py"):
        assert imported(file) <= allowed, file


def test_every_package_has_a_row() -> None:
    folders = {file.relative_to(PACKAGE).parts[0] for file in FILES if file.parent != PACKAGE}
    assert folders == set(MAY_IMPORT)


def test_no_row_leads_back_to_itself() -> None:
    done: set[str] = set()
    while len(done) < len(MAY_IMPORT):
        ready = {name for name, row in MAY_IMPORT.items() if {*row.split()} <= done} - done
        assert ready, "a cycle"
        done |= ready


def test_no_file_is_in_a_cycle() -> None:
    """Each file of the package can be imported first; what is imported in functions apart."""
    names = {
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in FILES
    }
    names = {name.removesuffix(".__init__"): file for name, file in names.items()}
    needs: dict[str, set[str]] = {}
    for name, file in names.items():
        found = set()
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fewshot_cli"):
                found |= {f"{node.module}.{each.name}" for each in node.names} | {str(node.module)}
        needs[name] = (found & set(names)) - {name}
    done: set[str] = set()
    while len(done) < len(needs):
        ready = {name for name, wanted in needs.items() if wanted <= done} - done
        assert ready, sorted(set(needs) - done)
        done |= ready


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_it_needs_no_torch(package: str) -> None:
    names = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in (PACKAGE / package).rglob("[a-z]*.py")
    ]
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0
