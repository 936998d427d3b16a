"""`compile=auto`, by what it chooses; docs/speed.md has how long runs take with it."""

from __future__ import annotations

import pytest
import torch
from helpers import config

from fewshot_cli import models
from fewshot_cli.training import compiling

CPU = torch.device("cpu")
LONG = f"iterations={compiling.ITERATIONS}", "device=cpu", "compile=auto"
CURVES = "data=sinusoid", "model=mlp", "ways=1", *LONG


@pytest.fixture(autouse=True)
def _there_is_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "has_compiler", lambda: True)


def chosen(*words: str, device: torch.device = CPU) -> tuple[bool, str]:
    told = config(*words)
    net = models.build(told.model, (1,) if "data=sinusoid" in words else (1, 28, 28), 5)
    return compiling.compiles(told, net, device), compiling.told(told, net, device)


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=sinusoid_maml"],
        ["experiment=sinusoid_fomaml", "algo.inner_steps=5"],
        ["experiment=sinusoid_reptile"],
    ],
)
def test_long_runs_on_curves_are_compiled(words: list[str]) -> None:
    compiles, told = chosen(*words, *LONG, "data=sinusoid")
    assert compiles
    assert told == "compile=auto: compiles, which pays in 20,000 iterations"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["iterations=19999"], "it pays from 20,000 iterations on"),
        (["algo=anil"], "this algorithm cannot, as it is set"),
        (["algo.first_order_iterations=10"], "this algorithm cannot, as it is set"),
        (["algo.inner_steps=6"], "it was measured for up to 5 inner steps"),
        (["model.hidden=[400,400]"], "the products of so many weights and examples take their"),
        (["threads=1", "recompute=true"], "it was not measured with these ways to compute"),
        (["batching=sequential"], "it was not measured with these ways to compute"),
        (["limits.patience=3"], "a limit may end the run early"),
    ],
)
def test_what_does_not_pay_or_was_not_measured_is_not(words: list[str], why: str) -> None:
    compiles, told = chosen(*CURVES, "algo=maml", *words)
    assert not compiles
    assert told.startswith(f"compile=auto: does not compile, since {why}")


def test_nor_are_convolutions_or_other_devices() -> None:
    compiles, told = chosen("data=glyphs", "model=cnn4", *LONG)
    assert not compiles
    assert "convolutions are slower with it" in told
    compiles, told = chosen(*CURVES, "algo=maml", device=torch.device("cuda"))
    assert not compiles
    assert "it was measured on CPUs alone" in told


def test_true_and_false_stay_what_they_are() -> None:
    assert chosen(*CURVES, "compile=true", "iterations=1")[0]
    assert not chosen(*CURVES, "compile=false")[0]
