from __future__ import annotations

from fewshot_cli.settings import errors


def test_nearest_offers_what_is_close_and_else_everything() -> None:
    assert errors.nearest("reptil", ["maml", "reptile"]) == "reptile"
    assert errors.nearest("xyz", ["maml", "reptile"]) == "maml, reptile"
    assert "--cfg job" in errors.nearest("xyz", map(str, range(50)))
