from __future__ import annotations

from pathlib import Path

import pytest

from fewshot_cli.data.images.splits import SPLITS, read, sizes
from fewshot_cli.settings.errors import UserError

DEFAULT = (0.64, 0.16, 0.2)


@pytest.mark.parametrize(
    ("classes", "least", "expected"),
    [
        (101, 5, [65, 16, 20]),  # as without `least`
        (101, 20, [61, 20, 20]),
        (30, 5, [19, 5, 6]),
        (29, 5, [18, 5, 6]),
        (15, 5, [5, 5, 5]),
        (14, 5, [9, 0, 5]),
        (12, 2, [8, 2, 2]),
        (12, 5, [7, 0, 5]),
        (10, 5, [5, 0, 5]),
        (9, 5, [6, 1, 2]),  # too few: the shares stand
    ],
)
def test_the_splits_fit_the_number_of_ways(classes: int, least: int, expected: list[int]) -> None:
    assert sizes(classes, DEFAULT, least) == expected


@pytest.mark.parametrize("shares", [DEFAULT, (0.1, 0.1, 0.8), (0.1, 0.8, 0.1), (0.9, 0.05, 0.05)])
def test_whatever_the_shares_are(shares: tuple[float, ...]) -> None:
    for classes in range(80):
        plain = sizes(classes, shares)
        assert sum(plain) == classes
        for least in range(2, 20):
            train, valid, test = found = sizes(classes, shares, least)
            assert sum(found) == classes
            assert min(found) >= 0
            if min(plain) >= least:
                assert found == plain
            elif classes >= 3 * least:
                assert min(found) >= least
            elif classes >= 2 * least:
                assert min(train, test) >= least
                assert valid == 0


def test_a_csv_is_read_without_knowing_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text('class,split\n"a, b/c",test\nä,train\n', encoding="utf-8")
    assert read(path) == {"train": ["ä"], "valid": [], "test": ["a, b/c"]}
    assert list(read(path)) == list(SPLITS)
    with pytest.raises(UserError, match=r"splits.csv:3: class ä: is not below data.root"):
        read(path, ["a, b/c"])
    path.write_bytes(b"class,split\n\xe9,train\n")
    with pytest.raises(UserError, match=r"splits.csv: .*expected a CSV in UTF-8"):
        read(path)
