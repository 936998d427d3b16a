"""Runs on tables that adapt to rows of a user's own, and what is said of other rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import config, names, untrained

from fewshot_cli.inference import RowModel, adapt, load, save
from fewshot_cli.settings.errors import UserError

TASKS = ["data=table", "data.task=who", "ways=1", "shots=3", "queries=3", "eval.queries=3"]
LINE = [*TASKS, "data.target=y", "model=mlp"]
FLOWERS = ["data=table", "data.label=name", "model=mlp", "ways=2", "eval.queries=5"]


def people(rows: int = 8) -> pd.DataFrame:
    """Each person's plane over x and age; 100 is far from what standardised numbers are."""
    draw, found = np.random.default_rng(0), []
    for person in range(10):
        x, age = draw.normal(3, 2, rows), draw.normal(40, 9, rows)
        y = 100 + draw.normal() * x + draw.normal() * age + 0.1 * draw.normal(size=rows)
        sex = draw.choice(["f", "m"], rows)
        who = [f"p{person}"] * rows
        found.append(pd.DataFrame({"who": who, "x": x, "age": age, "y": y, "sex": sex}))
    return pd.concat(found, ignore_index=True)


def flowers() -> pd.DataFrame:
    draw = np.random.default_rng(1)
    name = np.repeat([f"s{n}" for n in range(8)], 12)
    place = np.repeat(np.arange(8), 12)[:, None]
    x = 30 * draw.normal(size=(8, 2))[place[:, 0]] + draw.normal(size=(96, 2))
    return pd.DataFrame({"name": name, "length": x[:, 0], "width": x[:, 1]})


def run_on(folder: Path, frame: pd.DataFrame, *words: str) -> Path:
    table = folder / "all.csv"
    frame.to_csv(table, index=False)
    return untrained(folder / "run", f"data.root='{table}'", *words)


def written(folder: Path, frame: pd.DataFrame, name: str) -> Path:
    if name.endswith("parquet"):
        frame.to_parquet(folder / name)
    else:
        frame.to_csv(folder / name, index=False, sep="\t" if name.endswith("tsv") else ",")
    return folder / name


def halves(folder: Path, frame: pd.DataFrame, ending: str = "csv", first: int = 5) -> list[Path]:
    """The support and query rows of p3."""
    one = frame[frame.who == "p3"]
    return [
        written(folder, part, f"{name}.{ending}")
        for name, part in (("support", one.iloc[:first]), ("query", one.iloc[first:]))
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("standardise", ["true", "false"])
def test_least_squares_of_a_task_are_those_of_numpy_in_the_target_s_unit(
    tmp_path: Path, standardise: str, ending: str
) -> None:
    frame = people()
    ridge = ["algo=ridge", "algo.penalty=1e-7", "model.hidden=[]", "data.drop=[sex]"]
    run = run_on(tmp_path, frame, *LINE, *ridge, f"data.standardise={standardise}")
    support, query = halves(tmp_path, frame, ending=ending)
    model = adapt(run, support)
    assert isinstance(model, RowModel)
    predictions = model.predict(query)
    one = frame[frame.who == "p3"]
    known = np.c_[np.ones(5), one[["x", "age"]].iloc[:5]]
    solved, *_ = np.linalg.lstsq(known, one.y.iloc[:5])
    truth = np.c_[np.ones(3), one[["x", "age"]].iloc[5:]] @ solved
    assert predictions.table.predicted.to_numpy() == pytest.approx(truth, abs=0.05)
    assert predictions.errors is not None
    assert predictions.errors.numpy() == pytest.approx((truth - one.y.iloc[5:]) ** 2, rel=0.1)


def test_the_query_s_columns_stand_as_they_are_in_any_order(tmp_path: Path) -> None:
    frame = people()
    run = run_on(tmp_path, frame, *LINE, "algo=fomaml")
    support, query = halves(tmp_path, frame)
    model = adapt(run, support, ["algo.eval_steps=2", "algo.inner_lr=0.1"])
    expected = model.predict(query).table
    other = pd.read_csv(query, dtype=str)[["sex", "age", "x"]].assign(note="007")
    found = model.predict(written(tmp_path, other, "other.csv")).table
    assert [*found] == ["sex", "age", "x", "note", "predicted"]
    pd.testing.assert_frame_equal(found[[*other]], other)
    assert found.predicted.to_numpy() == pytest.approx(expected.predicted.to_numpy(), rel=1e-6)
    assert isinstance(model, RowModel)
    alone = model.judging(False).predict(query).table  # rows of an MLP never see one another
    pd.testing.assert_frame_equal(alone, expected)


def adaptable() -> list[tuple[str, str]]:
    """Every algorithm with each kind of task that it takes, but the one that clusters queries."""
    found = []
    for algo in names("algo"):
        keys = config(f"algo={algo}").algo
        fits = {"numbers": not keys.classifies, "shared": not keys.by_way, "classes": True}
        found += [(algo, kind) for kind in fits if fits[kind] and algo != "soft_kmeans"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "kind"), adaptable())
def test_every_algorithm_adapts_and_what_is_saved_says_the_same(
    tmp_path: Path, algo: str, kind: str
) -> None:
    frame = people(rows=20) if kind != "classes" else flowers()
    words = {"numbers": [*TASKS, "data.target=[y,age]"], "classes": FLOWERS}.get(kind, TASKS)
    if kind == "shared":
        frame["state"] = np.where(frame.x > 3, "ill", "well")
        words = [*words, "data.label=state", "data.drop=[y]"]
    run = run_on(tmp_path, frame, *words, "model=mlp", f"algo={algo}")
    if kind == "classes":  # of another number than the run's ways
        frame = frame[frame.name.isin(["s1", "s2", "s5"])].sample(frac=1, random_state=0)
        frame.insert(0, "who", "p3")
    support, query = halves(tmp_path, frame, first=10 if kind == "classes" else 5)
    quick = ["algo.eval_steps=2"] if "eval_steps" in config(f"algo={algo}").algo.reads else []
    model = adapt(run, support, quick)
    table = model.predict(query).table
    if kind == "numbers":
        assert [*table][-2:] == ["predicted y", "predicted age"]
    else:
        classes = ["s1", "s2", "s5"] if kind == "classes" else ["ill", "well"]
        assert [*table][-len(classes) - 2 :] == ["predicted", "probability", *classes]
        assert table[classes].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
        assert (table[classes].idxmax(axis=1) == table.predicted).all()
    for name in ("model.pt", "model.pt2"):
        save(model, tmp_path / name)
        again = load(tmp_path / name).predict(query).table
        pd.testing.assert_frame_equal(again, table, rtol=1e-4, atol=1e-5)


def test_nearest_means_of_own_classes_are_those_of_numpy(tmp_path: Path) -> None:
    run = run_on(tmp_path, flowers(), *FLOWERS, "algo=ncm", "model.hidden=[]")
    frame = flowers()[lambda of: of.name.isin(["s0", "s3", "s6"])].assign(
        name=lambda of: "my " + of.name
    )
    support, query = frame.groupby("name").head(2), frame.groupby("name").tail(10)
    model = adapt(run, written(tmp_path, support.sample(frac=1, random_state=0), "s.csv"))
    assert isinstance(model, RowModel)
    found = model.predict(written(tmp_path, query, "q.csv"))
    of_run = json.loads((run / "data.json").read_text())
    means = support.groupby("name")[["length", "width"]].mean()
    far = (query[["length", "width"]].to_numpy()[:, None] - means.to_numpy()) / of_run["scale"]
    assert [*found.table.predicted] == [*means.index[np.square(far).sum(2).argmin(1)]]
    assert (len(found.right), model.classes) == (30, ["my s0", "my s3", "my s6"])
    assert sum(found.right) == (found.table.predicted == found.table.name).sum()


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_series_are_judged_one_by_one_or_together(tmp_path: Path, kind: str) -> None:
    draw = np.random.default_rng(0)
    x, group = draw.normal(size=(96, 2, 16)), np.arange(96) // 12
    y = draw.normal(size=96) if kind == "numbers" else group
    np.savez(tmp_path / "all.npz", x=x, y=y, machine=group)
    words = ["data.task=machine", "data.target=y", "ways=1"] if kind == "numbers" else ["ways=2"]
    words += ["data=table", "model=cnn1d", "model.channels=4", "algo=fomaml", "eval.queries=4"]
    words += [f"data.root='{tmp_path / 'all.npz'}'", "shots=2", "queries=2"]
    run = untrained(tmp_path / "run", *words)
    np.savez(tmp_path / "support.npz", x=x[:6], y=np.arange(6) % 2 if kind == "classes" else y[:6])
    np.savez(tmp_path / "query.npz", x=x[6:12], hour=np.arange(6))
    model = adapt(run, tmp_path / "support.npz", ["algo.eval_steps=2", "eval.transductive=false"])
    assert isinstance(model, RowModel)
    assert model.way == "each alone with the support set"
    table = model.predict(tmp_path / "query.npz").table
    assert [*table][:3] == ["row", "hour", "predicted"]
    np.savez(tmp_path / "one.npz", x=x[8:9])
    alone = model.predict(tmp_path / "one.npz").table
    last = table.columns[-1]
    assert alone[last].to_numpy() == pytest.approx(table[last].to_numpy()[2:3], abs=1e-4)
    together = model.judging(True).predict(tmp_path / "query.npz").table
    assert together[last].to_numpy() != pytest.approx(table[last].to_numpy(), abs=1e-4)


@pytest.mark.slow
def test_steps_and_rate_are_those_of_the_least_squared_error(tmp_path: Path) -> None:
    """Each fold again, by files."""
    frame = people()
    run = run_on(tmp_path, frame, *LINE, "algo=fomaml", "data.drop=[sex]")
    one = frame[frame.who == "p3"]
    model = adapt(run, written(tmp_path, one, "s.csv"))
    assert model.chosen is not None
    found = re.match(
        r"Chose (\d+) steps? at an inner rate of ([\d.e-]+) by 5-fold .*: root mean squared error "
        r"([\d.]+) \(3 steps at an inner rate of ([\d.]+), .*: root mean squared error ([\d.]+)\)",
        model.chosen,
    )
    assert found, model.chosen
    for steps, rate, said in [found.group(1, 2, 3), ("3", *found.group(4, 5))]:
        squares: list[float] = []
        for fold in range(5):
            out = np.arange(len(one)) % 5 == fold
            support = written(tmp_path, one[~out], "kept.csv")
            told = [f"algo.eval_steps={steps}", f"algo.inner_lr={rate}"]
            said_of = adapt(run, support, told).predict(written(tmp_path, one[out], "out.csv"))
            squares += [*(said_of.table.predicted.to_numpy() - one.y[out].to_numpy()) ** 2]
        assert np.sqrt(np.mean(squares)) == pytest.approx(float(said), rel=1e-3)


WRONG: dict[str, tuple[str, str, str]] = {
    "no file": ("", "", r"s.csv: expected a file .csv"),
    "no target": ("who,x,age,sex\np3,1,2,f", "", r"data.target=y: .*s.csv has no such column"),
    "no feature": (
        "who,x,y,sex\np3,1,2,f",
        "",
        r"s.csv: has no column age, which the run has read",
    ),
    "two tasks": (
        "who,x,age,sex,y\np3,1,2,f,3\np4,1,2,f,3",
        "",
        r"s.csv: line 3, column who: p4; expected rows of one task, p3",
    ),
    "missing": ("x,age,sex,y\n1,,f,3\n1,2,f,3", "", r"s.csv: missing values by column: age 1"),
    "no number": ("x,age,sex,y\n1,2,f,3\nwide,2,f,3", "", r"line 3, column x: wide among numbers"),
    "empty target": (
        "x,age,sex,y\n1,2,f,3\n1,2,f,",
        "",
        r"1 rows have no target, the first in line 3",
    ),
    "another task's query": (
        "who,x,age,sex,y\np3,1,2,f,3\np3,2,2,f,4",
        "who,x,age,sex\np3,1,2,f\np5,1,2,f",
        r"q.csv: line 3, column who: p5; expected rows of one task, p3",
    ),
    "taken name": (
        "x,age,sex,y\n1,2,f,3\n2,2,f,4",
        "predicted,x,age,sex\n1,1,2,f",
        r"q.csv: has a column predicted, as the predictions have",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows_cost_one_line(tmp_path: Path, case: str) -> None:
    run = run_on(tmp_path, people(), *LINE, "algo=fomaml")
    support, query, message = WRONG[case]
    for name, text in (("s.csv", support), ("q.csv", query)):
        if text:
            (tmp_path / name).write_text(text + "\n")
    with pytest.raises(UserError, match=message) as raised:
        adapt(run, tmp_path / "s.csv", ["algo.eval_steps=1"]).predict(tmp_path / "q.csv")
    assert "\n" not in str(raised.value)


def test_one_class_and_a_class_that_no_task_shares_cost_one_line(tmp_path: Path) -> None:
    run = run_on(tmp_path, flowers(), *FLOWERS, "algo=fomaml")
    one = written(tmp_path, flowers().head(5), "one.csv")
    with pytest.raises(UserError, match=r"one.csv: column name has 1 class; expected 2 or more"):
        adapt(run, one)
    np.savez(tmp_path / "s.npz", x=np.ones((4, 2)), y=np.arange(4))
    with pytest.raises(UserError, match=r"expected columns, as the run read"):
        adapt(run, tmp_path / "s.npz")
    (tmp_path / "shared").mkdir()
    frame = people().assign(state=lambda of: np.where(of.x > 3, "ill", "well"))
    run = run_on(tmp_path / "shared", frame, *TASKS, "data.label=state", "model=mlp", "algo=fomaml")
    support = written(tmp_path, frame.head(4).assign(state="dead"), "dead.csv")
    with pytest.raises(UserError, match=r"line 2, column state: class dead is in no task of meta"):
        adapt(run, support)
