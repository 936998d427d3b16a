from __future__ import annotations

import torch
from helpers import config

from fewshot_cli.training.seeding import generator, initialised


def test_each_name_and_seed_has_its_own_stream() -> None:
    first = {
        (seed, name): torch.rand(4, generator=generator(seed, name)).tolist()
        for seed in (1, 2, 12)
        for name in ("train tasks", "inner batches")
    }
    assert len({tuple(numbers) for numbers in first.values()}) == 6
    assert torch.rand(4, generator=generator(1, "train tasks")).tolist() == first[1, "train tasks"]


def test_initial_weights_depend_on_the_seed_alone() -> None:
    model = config("model=mlp").model
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = (initialised(model, (3,), 2, seed=1) for _ in range(2))
    other = initialised(model, (3,), 2, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one[1].weight, other[1].weight)
