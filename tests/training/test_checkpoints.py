from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from helpers import config

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import Algorithm
from fewshot_cli.settings.errors import UserError
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training import checkpoints


def algorithm(seed: int, ways: int = 3) -> Algorithm:
    torch.manual_seed(seed)
    net = models.build(config("model=mlp").model, (4,), ways)
    return algorithms.build(net, config().algo, 10, Acceleration())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved, loaded = algorithm(1), algorithm(2)
    checkpoints.save(tmp_path / "last.pt", saved, 7)
    assert checkpoints.load(tmp_path / "last.pt", loaded) == 7
    for a, b in zip(saved.net.parameters(), loaded.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "last.pt", algorithm(1), 7)
    with pytest.raises(UserError, match=r"last.pt: 5\.(bias|weight) has shape .* number of ways"):
        checkpoints.load(tmp_path / "last.pt", algorithm(1, ways=5))


def test_a_head_for_other_ways_has_the_mean_of_the_learned_rows(tmp_path: Path) -> None:
    saved, loaded = algorithm(1), algorithm(2, ways=5)
    checkpoints.save(tmp_path / "last.pt", saved, 7)
    checkpoints.load(tmp_path / "last.pt", loaded, any_ways=True)
    *body, weight, bias = saved.net.parameters()
    *same, wide, long = loaded.net.parameters()
    assert all(torch.equal(a, b) for a, b in zip(body, same, strict=True))
    assert torch.equal(wide, weight.mean(0).expand(5, -1))
    assert torch.equal(long, bias.mean().expand(5))


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps(Evil()), "half", "other"])
def test_a_damaged_or_hostile_file_is_named_and_nothing_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.pt"
    checkpoints.save(path, algorithm(1), 7)
    if content == "half":
        path.write_bytes(path.read_bytes()[:1500])
    elif content == "other":
        torch.save({"format": 99}, path)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"last.pt: (expected a whole checkpoint|has format 99)"
    ) as e:
        checkpoints.load(path, algorithm(1))
    assert "\n" not in str(e.value)
    assert not Path("executed").exists()


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.pt: no such checkpoint"):
        checkpoints.load(tmp_path / "none.pt", algorithm(1))
