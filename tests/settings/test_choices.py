from __future__ import annotations

import pytest
from helpers import names

from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError

CHOICES = [option for group in choices.SHOWN for option in choices.options(group)]


@pytest.mark.parametrize("option", CHOICES, ids=lambda option: f"{option.group}={option.name}")
def test_every_choice_says_what_it_is_and_bears_its_own_name(option: choices.Option) -> None:
    assert 10 < len(option.description) < 100
    if option.group != "experiment":
        assert f"name: {option.name}\n" in option.text
        assert {"name", "kind"} <= option.keys()


def test_the_defaults_are_choices() -> None:
    for group, name in choices.defaults().items():
        assert name is None or name in names(group)


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"group models: expected one of data, model"):
        choices.options("models")


@pytest.mark.parametrize(
    "kind", ["os", "../maml", "maml.py", "__init__", "", "learn2learn.algorithms"]
)
def test_a_kind_is_a_file_of_the_package_and_nothing_else(kind: str) -> None:
    with pytest.raises(UserError, match="kind="):
        choices.check("algorithms", kind)
