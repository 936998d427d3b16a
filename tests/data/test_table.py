"""Tables: what is read of them, what is refused, and that meta-test rows leave no trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import config

from fewshot_cli import data
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.tables import columns, table
from fewshot_cli.data.task import TaskShape
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training.setup import prepare

CPU = torch.device("cpu")
PANEL = ["data.task=who", "data.target=y"]
FLOWERS = ["data.label=name"]


def load(path: Path, *words: str) -> ArrayTasks:
    ways = ["ways=1"] if any("data.task" in word for word in words) else ["ways=2"]
    chosen = config("data=table", "model=mlp", f"data.root='{path}'", *ways, *words)
    chosen.data.least = 1
    source = data.load(chosen.data, "", CPU)
    assert isinstance(source, ArrayTasks)
    return source


def panel(people: int = 10, rows: int = 6) -> pd.DataFrame:
    """A person's line is its own; `when` splits people."""
    draw = np.random.default_rng(0)
    found = []
    for person in range(people):
        x = draw.normal(3, 2, rows)
        found.append(
            pd.DataFrame(
                {
                    "who": f"p{person}",
                    "x": x,
                    "sex": ["f", "m"][person % 2],
                    "y": person + x * draw.normal(5, 1),
                    "when": ["train", "train", "train", "valid", "test"][person % 5],
                }
            )
        )
    return pd.concat(found, ignore_index=True)


def written(folder: Path, frame: pd.DataFrame, name: str = "t.csv") -> Path:
    path = folder / name
    frame.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_task_has_the_rows_of_one_value_standardised_by_meta_train(
    tmp_path: Path, name: str
) -> None:
    frame = panel()
    source = load(written(tmp_path, frame, name), *PANEL, "data.split=when")
    train = frame[frame.when == "train"]
    assert [*source.sizes["test"]] == ["p4", "p9"]
    assert source.input_shape == (3,)  # x, and a column for each sex
    assert source.kept is not None
    assert source.kept["mean"] == pytest.approx([train.x.mean()], rel=1e-6)
    assert source.kept["scale"] == pytest.approx([train.x.std(ddof=0)], rel=1e-6)
    tasks = source.sample("test", 2, TaskShape(1, 4, 2), torch.Generator().manual_seed(0))
    assert tasks.support_y.shape == (2, 4)
    x = torch.cat([tasks.support_x, tasks.query_x], 1)
    y = torch.cat([tasks.support_y, tasks.query_y], 1)
    of = {
        row.who: frame[frame.who == row.who].sort_values("x")
        for row in frame[frame.when == "test"].itertuples()
    }
    for task in range(2):
        order = x[task, :, 0].argsort()
        who = "p4" if x[task, 0, 1] == 1 else "p9"
        assert x[task, :, 1:].tolist() == [[1.0, 0.0] if who == "p4" else [0.0, 1.0]] * 6
        back = x[task, order, 0].double() * train.x.std(ddof=0) + train.x.mean()
        assert back.numpy() == pytest.approx(of[who].x.to_numpy(), abs=1e-5)
        assert tasks.unit is not None
        back = y[task, order].double() * float(tasks.unit) + train.y.mean()
        assert back.numpy() == pytest.approx(of[who].y.to_numpy(), abs=1e-4)


def test_scores_are_in_the_unit_of_the_target(tmp_path: Path) -> None:
    """An untrained line from the same weights: an error in own units, whatever is standardised."""
    frame = panel()
    path = written(tmp_path, frame)
    source = load(path, *PANEL, "data.split=when", "data.drop=[sex]")
    tasks = source.sample("test", 2, TaskShape(1, 4, 2), torch.Generator().manual_seed(0))
    from fewshot_cli.data.task import score

    train = frame[frame.when == "train"].y
    outputs = torch.zeros(2, 2, 1)  # the mean of meta-train
    plain = load(path, *PANEL, "data.split=when", "data.drop=[sex]", "data.standardise=false")
    raw = plain.sample("test", 2, TaskShape(1, 4, 2), torch.Generator().manual_seed(0))
    truth = (raw.query_y - train.mean()).square().mean(1)
    assert score(outputs, tasks.query_y, tasks.unit).loss.tolist() == pytest.approx(
        truth.tolist(), rel=1e-4
    )


def test_classes_that_all_tasks_share(tmp_path: Path) -> None:
    frame = panel().drop(columns="y")
    frame["state"] = np.where(frame.x > 3, "ill", "well")
    source = load(written(tmp_path, frame), "data.task=who", "data.label=state", "data.split=when")
    tasks = source.sample("train", 5, TaskShape(1, 2, 2), torch.Generator())
    assert (source.train_classes, tasks.shared, tasks.classes) == (2, True, None)
    assert {*tasks.query_y.flatten().tolist()} <= {0, 1}


@pytest.mark.parametrize("standardise", ["true", "false"])
def test_arrays_of_any_shape(tmp_path: Path, standardise: str) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal([[2], [50]], [[1], [9]], (60, 2, 12))
    y = np.repeat(np.arange(12), 5)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    source = load(tmp_path / "a.npz", f"data.standardise={standardise}")
    assert source.input_shape == (2, 12)
    assert next(iter(source.sizes["train"])) in {str(label) for label in range(12)}
    rows = source.rows["train"]
    if standardise == "true":
        train = source.x[rows].double()
        assert train.mean((0, 2)).abs().max() < 1e-5
        assert train.std((0, 2), correction=0).numpy() == pytest.approx([1, 1], abs=1e-5)
    else:
        assert torch.equal(source.x, torch.from_numpy(x).float())


def test_arrays_in_columns_order_and_many_targets(tmp_path: Path) -> None:
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(40, 3)))
    np.savez_compressed(tmp_path / "a.npz", x=x, both=x[:, :2], who=np.repeat(np.arange(8), 5))
    source = load(tmp_path / "a.npz", "data.task=who", "data.target=both", "data.standardise=false")
    assert torch.equal(source.x, torch.from_numpy(x).float())
    tasks = source.sample("train", 3, TaskShape(1, 2, 2), torch.Generator())
    assert tasks.support_y.shape == (3, 2, 2)
    assert torch.equal(tasks.support_y, tasks.support_x[..., :2])


def test_meta_test_rows_change_nothing_that_is_learned_of_the_table(tmp_path: Path) -> None:
    frame = panel()
    changed = frame.copy()
    of_test = changed.when == "test"
    changed.loc[of_test, ["x", "y"]] *= 1e4
    changed.loc[of_test, "sex"] = "x"
    sources = [
        load(written(tmp_path, each, f"{name}.csv"), *PANEL, "data.split=when")
        for name, each in {"one": frame, "other": changed}.items()
    ]
    assert sources[0].kept == sources[1].kept
    assert torch.equal(sources[0].rows["train"], sources[1].rows["train"])
    shape, draws = TaskShape(1, 2, 2), [torch.Generator().manual_seed(1) for _ in range(4)]
    for split, (one, other) in {"train": draws[:2], "valid": draws[2:]}.items():
        pair = sources[0].sample(split, 9, shape, one), sources[1].sample(split, 9, shape, other)
        assert all(map(torch.equal, pair[0].fields(), pair[1].fields()))


@pytest.mark.parametrize("value", [None, np.nan])
def test_missing_numbers_are_filled_by_the_median_of_meta_train(
    tmp_path: Path, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = panel()
    frame.loc[[0, 24], "x"] = value
    path = written(tmp_path, frame)
    with pytest.raises(UserError, match=r"missing values by column: x 2; expected none, or data.m"):
        load(path, *PANEL)
    words = ["data.split=when", "data.missing=median", "data.standardise=false"]
    source = load(path, *PANEL, *words)
    median = frame[frame.when == "train"].x.median()
    assert source.x[[0, 24], 0].tolist() == pytest.approx([median] * 2, rel=1e-6)
    assert "Missing values are filled by meta-train's median" in capsys.readouterr().err


def test_small_ones_are_refused_with_the_key_that_leaves_them_out(tmp_path: Path) -> None:
    frame = pd.concat([panel(), panel(1, 3).assign(who="few")])
    words = ["data=table", "model=mlp", f"data.root='{written(tmp_path, frame)}'", *PANEL]
    words += ["ways=1", "shots=3", "queries=3", "eval.queries=2", "data.drop=[when]"]
    with pytest.raises(
        UserError,
        match=r"1 of 11 tasks have fewer than 6 rows, the smallest, few, has 3; .*, or "
        r"data.min_rows=6",
    ):
        prepare(config(*words))
    prepare(config(*words, "data.min_rows=6"))


def text(content: str | bytes, name: str = "t.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def arrays(**given: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "a.npz", **given)
        return folder / "a.npz"

    return make


GOOD = "name,x,z\n" + "".join(f"{name},{n}.5,{n}\n" for name in "abcdef" for n in range(4))
SPLIT = "who,x,y,when\n" + "".join(f"p{n},{n},{n},train\np{n},1,2,train\n" for n in range(4))
X = np.ones((8, 2))


def parquet(frame: pd.DataFrame) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        frame.to_parquet(folder / "t.parquet")
        return folder / "t.parquet"

    return write


def cut_parquet(folder: Path) -> Path:
    path = parquet(panel().rename(columns={"who": "name"}))(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def damaged_parquet(folder: Path) -> Path:
    """The first page of values is of zeros; the footer is whole."""
    path = parquet(panel().rename(columns={"who": "name"}))(folder)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    return path


WRONG: dict[str, tuple[Callable[[Path], Path], list[str], str]] = {
    "no such column": (
        text(GOOD),
        ["data.label=nam"],
        r"data.label=nam: .*t.csv has no such colu.*"
        r"expected name",
    ),
    "no such feature": (text(GOOD), [*FLOWERS, "data.features=[zz]"], r"data.features=zz: .*such"),
    "no such split": (text(GOOD), [*FLOWERS, "data.split=fold"], r"data.split=fold: .*no such col"),
    "nothing asked": (text(GOOD), [], r"data.label=null: expected data.label=COLUMN for classes"),
    "target alone": (
        text(GOOD),
        ["data.target=z", "ways=1"],
        r"data.task=null: data.target=z needs",
    ),
    "target and label": (
        text(GOOD),
        ["data.task=name", "data.target=z", "data.label=x"],
        r"not wit",
    ),
    "target of words": (
        text(SPLIT),
        ["data.task=who", "data.target=when"],
        r"data.target=when: .* expected numbers, or data.label=when",
    ),
    "target is a feature": (
        text(SPLIT),
        [*PANEL, "data.features=[x,y]"],
        r"data.features=y: is data.target=y; expected other columns",
    ),
    "one column twice": (text(GOOD), [*FLOWERS, "data.task=name"], r"name one column twice"),
    "target twice": (text(SPLIT), ["data.task=who", "data.target=[y,y]"], r"names y twice"),
    "dropped feature": (
        text(GOOD),
        [*FLOWERS, "data.features=[x]", "data.drop=[x]"],
        r"data.drop=x",
    ),
    "nothing left": (text(GOOD), [*FLOWERS, "data.drop=[x,z]"], r"leaves .* no features"),
    "missing": (
        text(GOOD + "a,,\n"),
        FLOWERS,
        r"missing values by column: x 1, z 1; expected none",
    ),
    "infinite": (text(GOOD + "a,inf,1\n"), FLOWERS, r"line 26, column x: inf is infinite"),
    "too large": (
        text(GOOD + "a,1e300,1\n"),
        FLOWERS,
        r"line 26, column x: 1e\+300 is infinite in",
    ),
    "mixed": (text(GOOD + "a,one,1\n"), FLOWERS, r"line 26, column x: one among numbers"),
    "empty label": (text(GOOD + ",1,1\n"), FLOWERS, r"line 26, column name: is empty"),
    "duplicate header": (text("name,x,x\na,1,2\n"), FLOWERS, r"line 1: column x stands twice"),
    "nameless column": (text("name,,x\na,1,2\n"), FLOWERS, r"line 1: column 2 has no name"),
    "wrong separator": (
        text(GOOD.replace(",", ";")),
        FLOWERS,
        r"line 1 has semicolons and no commas",
    ),
    "tabs in a csv": (text(GOOD.replace(",", "\t")), FLOWERS, r"line 1 has tabs and no commas"),
    "empty": (text(""), FLOWERS, r"t.csv: is empty"),
    "header only": (text("name,x\n"), FLOWERS, r"has a header and no rows"),
    "long line": (
        text(GOOD + "a," + "9" * 10**7 + ",1\n"),
        FLOWERS,
        r"line 26 is longer than 1 MiB",
    ),
    "utf-16": (text(GOOD.encode("utf-16")), FLOWERS, r"is in UTF-16; expected UTF-8"),
    "latin-1": (text((GOOD + "ä,1,1\n").encode("latin-1")), FLOWERS, r"line 26: is not in UTF-8"),
    "nul": (text(GOOD + "a\0,1,1\n"), FLOWERS, r"line 26: has a NUL byte"),
    "too many values": (text(GOOD + "a,1,1,1\n"), FLOWERS, r"Expected 3 fields in line 26, saw 4"),
    "all with too many": (text("name,x\na,1,2\nb,1,2\n"), FLOWERS, r"line 2 has more values than"),
    "text": (
        text("name,x\n" + "".join(f"a,word{n}\n" for n in range(60))),
        FLOWERS,
        r"column x has 60 different words in 60 rows, which is text",
    ),
    "dates": (
        text("name,x\n" + "a,2020-01-31\n" * 9),
        FLOWERS,
        r"column x has dates; expected num",
    ),
    "unknown split": (
        text(SPLIT + "p9,1,1,dev\n"),
        [*PANEL, "data.split=when"],
        r"line 10, column when: dev; expected",
    ),
    "in two splits": (
        text(SPLIT + "p1,1,1,test\n"),
        [*PANEL, "data.split=when"],
        r"task p1 is in two splits, train in line 4 and test in line 10; expected one",
    ),
    "folder": (lambda folder: folder, FLOWERS, r"is a folder; expected a file, or data=folder"),
    "no file": (lambda folder: folder / "no.csv", FLOWERS, r"no.csv: no such file"),
    "other ending": (text(GOOD, "t.xlsx"), FLOWERS, r"expected a file .csv, .tsv"),
    "no parquet": (text(b"PAR1xxxx", "t.parquet"), FLOWERS, r"expected whole Parquet"),
    "truncated parquet": (cut_parquet, FLOWERS, r"t.parquet: .*; expected whole Parquet"),
    "damaged parquet": (damaged_parquet, FLOWERS, r"t.parquet: .*; expected whole Parquet"),
    "parquet of lists": (
        parquet(pd.DataFrame({"name": ["a", "b"], "x": [[1], [2, 3]]})),
        FLOWERS,
        r"t.parquet: column x has list<.* in each row; expected a number or a word",
    ),
    "no npz": (text("x", "a.npz"), [], r"expected a whole .npz"),
    "no x": (arrays(z=X, y=X), [], r"has no array x; it has z, y"),
    "no y": (arrays(x=X), [], r"data.label=y: .* has no array y"),
    "objects": (arrays(x=X, y=np.array([{}] * 8)), [], r"y has Python objects, which can run code"),
    "x of words": (
        arrays(x=X.astype(str), y=X),
        [],
        r"x is <U\d+ of shape \[8, 2\]; expected numb",
    ),
    "flat x": (arrays(x=X[:, 0], y=X), [], r"x has shape \[8\]; expected \[n, ...\]"),
    "shorter y": (arrays(x=X, y=np.arange(7)), [], r"y has shape \[7\], and x has 8 rows"),
    "float labels": (arrays(x=X, y=X[:, 0]), [], r"y is float64 .*, or data.target=y for numbers"),
    "label words": (
        arrays(x=X, y=np.array(["a"] * 8), t=np.arange(8)),
        ["data.task=t", "data.target=y"],
        r"data.target=y: .* has <U1 there",
    ),
    "infinite x": (
        arrays(x=X * np.array([1, np.inf]), y=np.arange(8)),
        [],
        r"row 0 of x is infinite",
    ),
    "columns of arrays": (
        arrays(x=X, y=np.arange(8)),
        ["data.drop=[x]"],
        r"features in x; expected",
    ),
    "missing target": (
        text(SPLIT + "p1,1,,train\n"),
        [*PANEL, "data.split=when"],
        r"1 rows have no target, the first in line 10",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_costs_one_line(tmp_path: Path, case: str) -> None:
    make, words, message = WRONG[case]
    with pytest.raises(UserError, match=message) as raised:
        load(make(tmp_path), *words)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_table_without_room_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_free_memory", lambda: 10)
    for path in (text(GOOD)(tmp_path), arrays(x=X, y=np.arange(8))(tmp_path)):
        words = FLOWERS if path.suffix == ".csv" else []
        with pytest.raises(UserError, match=r"GiB of memory, of which 0.0 GiB are free"):
            load(path, *words)


def test_lines_are_those_of_the_file_whatever_its_quotes_and_blanks(tmp_path: Path) -> None:
    path = text('name,x\n\n"a\nb",1\n\nc,2\nc,inf\n')(tmp_path)
    with pytest.raises(UserError, match=r"line 7, column x: inf"):
        load(path, *FLOWERS)


def test_a_column_in_many_parts_is_the_same_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, panel())
    whole = load(path, *PANEL, "data.split=when")
    monkeypatch.setattr("fewshot_cli.data.tables.text.ROWS", 7)
    monkeypatch.setattr(columns, "FIRST", 5)
    parts = load(path, *PANEL, "data.split=when", "data.drop=[]", "data.split_seed=1")
    assert torch.equal(whole.x, parts.x)
    assert whole.kept == parts.kept
    assert json.loads(json.dumps(whole.kept)) == whole.kept


@pytest.mark.parametrize("index", [None, "who", "x"])
def test_parquet_is_the_same_table_as_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str | None
) -> None:
    """Whatever pandas has for an index, which it keeps among the columns."""
    frame = panel()
    csv = load(written(tmp_path, frame), *PANEL, "data.split=when")
    monkeypatch.setattr("fewshot_cli.data.tables.parquet.ROWS", 7)
    frame.index += 3
    if index is not None:
        frame = frame.set_index(index)
    frame.to_parquet(tmp_path / "t.parquet")
    other = load(tmp_path / "t.parquet", *PANEL, "data.split=when", "data.features=[x,sex]")
    assert (other.kept, other.sizes) == (csv.kept, csv.sizes)
    assert torch.equal(other.x, csv.x)
    plain = load(tmp_path / "t.parquet", *PANEL, "data.split=when")
    assert plain.input_shape == csv.input_shape
