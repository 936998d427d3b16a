from __future__ import annotations

import pytest
from helpers import names

from fewshot_cli import groups
from fewshot_cli.config import UserError

CHOICES = [option for group in groups.SHOWN for option in groups.options(group)]


@pytest.mark.parametrize("option", CHOICES, ids=lambda option: f"{option.group}={option.name}")
def test_every_choice_says_what_it_is_and_bears_its_own_name(option: groups.Option) -> None:
    assert 10 < len(option.description) < 100
    if option.group != "experiment":
        assert f"name: {option.name}\n" in option.text
        assert {"name", "kind"} <= option.keys()


def test_the_defaults_are_choices() -> None:
    for group, name in groups.defaults().items():
        assert name is None or name in names(group)


def test_a_group_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"group models: expected one of data, model"):
        groups.options("models")
