from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from helpers import names

from fewshot_cli.settings.completion import overrides

# As in docs/choices.md.
BASH = """
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
eval "$(fewshot --show-completion)"
complete -o nospace -F _fewshot_completion fewshot
"""


@pytest.mark.parametrize(
    ("word", "completions"),
    [
        ("al", {"algo.", "algo="}),
        ("algo=", {f"algo={name}" for name in names("algo")}),
        ("data=s", {"data=sinusoid"}),
        ("algo.inner_l", {"algo.inner_lr="}),
        ("algo.meta_sch", {"algo.meta_schedule="}),
        ("algo.meta_schedule=", {"algo.meta_schedule=cosine"}),
        ("nothing", set()),
    ],
)
def test_groups_choices_and_keys(word: str, completions: set[str]) -> None:
    assert set(overrides(word)) == completions


def test_in_a_real_bash(tmp_path: Path) -> None:
    (tmp_path / "rc").write_text(BASH + "PS1='ready> '\n")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "INPUTRC": "/dev/null",
        "TERM": "dumb",
    }
    shell = pexpect.spawn(
        "bash", ["--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"], env=environment, timeout=60
    )
    shell.expect("ready> ")
    shell.send("fewshot train algo=rep\t")
    shell.expect_exact("algo=reptile")
    shell.send(" algo.inner_l\t")
    shell.expect_exact("algo.inner_lr=")
    shell.sendcontrol("c")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)


def test_as_zsh_asks_for_it() -> None:
    environment = os.environ | {
        "_FEWSHOT_COMPLETE": "complete_zsh",
        "_TYPER_COMPLETE_ARGS": "fewshot train algo=rep",
    }
    fewshot = Path(sys.executable).parent / "fewshot"
    done = subprocess.run([fewshot], env=environment, capture_output=True, text=True, timeout=60)
    assert '"algo=reptile"' in done.stdout


@pytest.mark.parametrize("line", ["fewshot trian algo=", "fewshot plot episodes wa"])
def test_after_a_mistyped_verb_nothing_is_said(line: str) -> None:
    environment = os.environ | {"_FEWSHOT_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    fewshot = Path(sys.executable).parent / "fewshot"
    done = subprocess.run([fewshot], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
