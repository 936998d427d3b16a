"""Tests of fewshot_cli/compare/settings.py: what a user's word means."""

from __future__ import annotations

import pytest

from fewshot_cli.compare.settings import full_key, has
from fewshot_cli.settings.errors import UserError

KEYS = ["algo.name", "algo.inner_lr", "eval.seed", "data.split_seed", "seed", "eval.tasks"]


@pytest.mark.parametrize(
    ("word", "key"),
    [("algo", "algo.name"), ("inner_lr", "algo.inner_lr"), ("seed", "seed"), ("tasks", KEYS[-1])],
)
def test_the_end_of_a_key_is_enough(word: str, key: str) -> None:
    assert full_key(word, KEYS) == key


@pytest.mark.parametrize("word", ["iner_lr", "", "name.", "\n"])
def test_a_wrong_word_gets_the_nearest(word: str) -> None:
    with pytest.raises(UserError, match="no setting of these runs; expected"):
        full_key(word, KEYS)


def test_the_end_of_several_keys_is_refused() -> None:
    with pytest.raises(UserError, match=r"expected (algo|eval)\.tasks"):
        full_key("tasks", ["algo.tasks", "eval.tasks"])


@pytest.mark.parametrize(
    ("value", "written", "same"),
    [
        (0.1, "0.10", True),
        (1, "1.0", True),
        (True, "true", True),
        (True, "1", False),
        (None, "null", True),
        (None, "0", False),
        ("maml", "maml", True),
        ("maml", "MAML", False),
        ("0.1", "1e-1", True),
        ("", "", True),
    ],
)
def test_values_are_compared_as_a_user_writes_them(value: object, written: str, same: bool) -> None:
    assert has({"key": value}, {"key": written}) is same
