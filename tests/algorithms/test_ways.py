from __future__ import annotations

import torch

from fewshot_cli.algorithms.ways import for_ways


def test_what_fits_comes_back_as_it_is() -> None:
    learned = torch.rand(5, 3)
    assert for_ways(learned, torch.empty(5, 3)) is learned


def test_every_row_is_the_mean_of_the_learned_rows() -> None:
    learned = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert for_ways(learned, torch.empty(3, 2)).tolist() == [[2.0, 4.0]] * 3
    assert for_ways(torch.tensor([1.0, 5.0]), torch.empty(1)).tolist() == [3.0]
