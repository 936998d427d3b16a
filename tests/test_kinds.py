from __future__ import annotations

import pytest

from fewshot_cli import kinds
from fewshot_cli.config import UserError


def test_nearest_offers_what_is_close_and_else_everything() -> None:
    assert kinds.nearest("reptil", ["maml", "reptile"]) == "reptile"
    assert kinds.nearest("xyz", ["maml", "reptile"]) == "maml, reptile"
    assert "--cfg job" in kinds.nearest("xyz", map(str, range(50)))


@pytest.mark.parametrize(
    "kind", ["os", "../maml", "maml.py", "__init__", "", "learn2learn.algorithms"]
)
def test_a_kind_is_a_file_of_the_room_and_nothing_else(kind: str) -> None:
    with pytest.raises(UserError, match="kind="):
        kinds.check("algorithms", kind)


def test_a_file_that_is_no_choice() -> None:
    with pytest.raises(UserError, match=r"kind=scores: .* has no `build`"):
        kinds.call("algorithms", "scores", "build")
