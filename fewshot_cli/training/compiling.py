"""`compile=auto`: whether compiling pays, by a rule, so that a config always does the same sums.

Compiling takes seconds, and spares calls of torch's operations, which are most of what an update of
a small network takes. Both grow with the number of operations, so that it pays back after about as
many iterations whatever the machine, the algorithm and the number of steps: docs/speed.md.
"""

from __future__ import annotations

import os
import shutil

import torch

from fewshot_cli.models import Network
from fewshot_cli.settings.checks import not_compiled
from fewshot_cli.settings.schema import Batching, Compile, Config, LimitsConfig, Precision
from fewshot_cli.stacked import per_task
from fewshot_cli.stacked.stacking import convolves

COMPILERS = os.environ.get("CXX", "g++"), "g++", "clang++"
# Twice as many as it took to pay back where it took most, measured without any code kept from
# earlier, so that it makes no run longer.
ITERATIONS = 20_000
# As far as it was measured: inner steps of MAML, which are compiled one by one; and products of a
# pass of all tasks, since large ones take their time compiled or not.
STEPS, PRODUCTS = 5, 2**21


def compiles(config: Config, net: Network, device: torch.device) -> bool:
    """Whether a run compiles."""
    if config.compile == Compile.auto:
        return why_not(config, net, device) is None
    return bool(config.compile)


def why_not(config: Config, net: Network, device: torch.device) -> str | None:
    """Why `compile=auto` does not compile; None where it does."""
    algo, weights = config.algo, sum(weight.numel() for weight in net.parameters())
    support = algo.inner_batch or config.ways * (algo.train_shots or config.shots)
    examples = config.meta_batch * (support + config.ways * config.queries)
    unrolled = algo.recomputable and (algo.inner_steps or 0) > STEPS
    usual = (
        config.precision is Precision.float32
        and config.batching is Batching.auto
        and config.ranks is None
        and not config.recompute
        and not algo.learn_rates
    )
    reasons = {
        "this algorithm cannot, as it is set": not_compiled(algo) is not None,
        "there is no C++ compiler": not has_compiler(),
        "it was measured on CPUs alone": device.type != "cpu",
        "it was measured for plain layers alone": not per_task.covers(net),
        "convolutions are slower with it": convolves(net),
        "the products of so many weights and examples take their time with it too": (
            weights * examples > PRODUCTS
        ),
        f"it was measured for up to {STEPS} inner steps": unrolled,
        "it was not measured with these ways to compute": not usual,
        "a limit may end the run early": config.limits != LimitsConfig(),
        f"it pays from {ITERATIONS:,} iterations on": config.iterations < ITERATIONS,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def told(config: Config, net: Network, device: torch.device) -> str:
    """What `compile=auto` chose, in a line."""
    why = why_not(config, net, device)
    if why is None:
        return f"compile=auto: compiles, which pays in {config.iterations:,} iterations"
    return f"compile=auto: does not compile, since {why}"


def has_compiler() -> bool:
    return any(map(shutil.which, COMPILERS))
