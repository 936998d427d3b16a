from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import CHECKOUT, Command
from helpers import TINY, config

from fewshot_cli.data import python
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.python import DrawnTasks
from fewshot_cli.data.task import TaskShape
from fewshot_cli.settings.errors import UserError

CPU = torch.device("cpu")
SMALL = [word for word in TINY if word != "ways=3"]
HEAD = "import numpy as np\nx = np.arange(40.0).reshape(20, 2)\ny = np.arange(20) // 4\n"
SHAPE = TaskShape(2, 1, 2)


def example(name: str, folder: Path) -> list[str]:
    """A file of docs/python.md, and the words that choose it."""
    page = (CHECKOUT / "docs" / "python.md").read_text(encoding="utf-8")
    found = re.search(rf"^`{name}`\n```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found
    (folder / name).write_text(found[1], encoding="utf-8")
    line = next(line for line in page.splitlines() if f"data.module={name}" in line)
    return line.split()[1:]


def load(folder: Path, code: str, *overrides: str) -> ArrayTasks | DrawnTasks:
    path = folder / "mine.py"
    path.write_text(code, encoding="utf-8")
    chosen = config(
        "data=python", "model=mlp", "data.trust=true", f"data.module='{path}'", *overrides
    )
    return python.load(chosen.data, "", CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my_tasks.py", "my_lines.py"])
def test_the_examples_of_the_page_train_resume_and_are_tested(
    tmp_path: Path, fewshot: Command, name: str
) -> None:
    words = example(name, tmp_path)
    done = fewshot(*words, *SMALL, "run.dir=run")
    assert done.returncode == 0, done.stderr
    settings = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"]
    assert re.fullmatch("[0-9a-f]{16}", settings["fingerprint"])
    for verb in ("resume", "evaluate"):
        more = ["iterations=6"] if verb == "resume" else []
        done = fewshot(verb, "run", *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(
            f"fewshot: data.trust=false: data=python runs the code in {tmp_path / name}; expected "
        )
        done = fewshot(verb, "run", *more, "data.trust=true")
        assert done.returncode == 0, done.stderr
    with (tmp_path / name).open("a") as file:
        file.write("\n# changed\n")
    done = fewshot("resume", "run", "iterations=8", "data.trust=true")
    assert done.returncode == 2
    assert "than when the run began" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_sweep_and_ranks_run_the_file_in_their_processes(
    tmp_path: Path, fewshot: Command
) -> None:
    words = [*example("my_lines.py", tmp_path), *SMALL]
    done = fewshot(words[0], "-m", *words[1:], "seed=1,2", "sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    done = fewshot(*words, "ranks=2", "run.dir=two", new=True)
    assert done.returncode == 0, done.stderr
    fewshot(*words, "run.dir=one")
    assert (tmp_path / "one/test_tasks.csv").is_file()


RUNS = """
from pathlib import Path
Path(__file__).with_name("it ran").touch()
def arrays(): return {}
"""


def test_nothing_runs_the_file_without_the_flag(tmp_path: Path, fewshot: Command) -> None:
    (tmp_path / "mine.py").write_text(RUNS)
    here = ["data=python", "model=mlp", "data.module=mine.py"]
    choices = tmp_path / "confs" / "data"
    choices.mkdir(parents=True)
    (choices / "theirs.yaml").write_text(
        f"name: theirs\nkind: python\nmodule: {tmp_path}/mine.py\ntrust: true\npredicts: classes\n"
    )
    theirs = ["--config-dir", "confs", "data=theirs", "model=mlp"]
    for words, line in [
        (["train", *here], "data.trust=false: "),
        (["train", *here, "--dry-run"], "data.trust=false: "),
        (["train", *theirs], "data.module=.*: comes from a file; to run code, type both"),
        (["train", *theirs, "data.trust=true"], "data.module=.*: comes from a file"),
        (["train", *theirs, "data.module=mine.py"], "data.trust=True: comes from a file"),
        (["train", "-m", "seed=1,2", *theirs], "data.module=.*: comes from a file"),
        (["train", "--cfg", "job", *here, "data.trust=true"], ""),
        (["ls", "data"], ""),
    ]:
        done = fewshot(*words)
        assert done.returncode == (2 if line else 0), done.stderr
        assert re.match(f"fewshot: {line}" if line else "$", done.stderr), done.stderr
    assert not (tmp_path / "it ran").exists()
    fewshot("train", *here, "data.trust=true")
    assert (tmp_path / "it ran").exists()


def test_arrays_are_classes_shared_classes_or_numbers(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    code = HEAD + "def arrays(): return {'x': x, 'y': y}\n"
    tasks = load(tmp_path, code).sample("train", 3, SHAPE, generator)
    of_class = tasks.support_x[..., 0] // 8  # x [n, 2] begins with 2 n, and 4 rows are a class
    queried = tasks.query_x[..., 0].view(3, 2, 2) // 8
    assert (queried == of_class[..., None]).all()

    code = HEAD + "def arrays(): return {'x': x, 'y': 3 * x, 'task': y.astype(str)}\n"
    source = load(tmp_path, code, "data.predicts=numbers", "ways=1")
    assert source.train_classes == 2
    drawn = source.sample("train", 3, TaskShape(1, 2, 2), generator)
    assert torch.equal(drawn.support_y, 3 * drawn.support_x)

    code = HEAD + "def arrays(): return {'x': x, 'y': np.arange(20) % 2, 'task': y}\n"
    source = load(tmp_path, code, "data.predicts=shared", "ways=1")
    assert source.train_classes == 2
    drawn = source.sample("train", 3, TaskShape(1, 2, 2), generator)
    assert torch.equal(drawn.query_y, (drawn.query_x[..., 0] / 2 % 2).long())


def test_split_says_where_a_class_goes(tmp_path: Path) -> None:
    code = HEAD + (
        "split = np.array(['train', 'train', 'valid', 'test', 'test'])[y]\n"
        "def arrays(): return {'x': x, 'y': y, 'split': split}\n"
    )
    source = load(tmp_path, code)
    assert isinstance(source, ArrayTasks)
    found = {split: list(classes) for split, classes in source.sizes.items()}
    assert found == {"train": ["0", "1"], "valid": ["2"], "test": ["3", "4"]}


def test_the_same_seed_draws_the_same_tasks(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    example("my_lines.py", page)
    code = (page / "my_lines.py").read_text()
    source = load(tmp_path, code, "data.predicts=numbers", "ways=1")
    drawn = [
        source.sample("test", 4, TaskShape(1, 3, 5), torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0].query_y, drawn[1].query_y)
    assert not torch.equal(drawn[0].query_y, drawn[2].query_y)
    assert drawn[0].query_x.shape == (4, 5, 1)
    slopes = np.divide(drawn[0].query_y, drawn[0].query_x[..., 0])
    assert torch.allclose(slopes, slopes[:, :1].expand(-1, 5), rtol=1e-4)


def arrays(given: str) -> str:
    return f"{HEAD}def arrays(): return {{{given}}}\n"


def draw(given: str) -> str:
    return (
        f"{HEAD}def draw(split, tasks, shape, generator):\n"
        "    support, query = ((tasks, shape.ways * n) for n in (shape.shots, shape.queries))\n"
        "    of = {'support_x': np.ones((*support, 2)), 'query_x': np.ones((*query, 2)),\n"
        "        'support_y': np.tile(np.arange(shape.ways), (tasks, 1)),\n"
        "        'query_y': np.tile(np.arange(shape.ways), (tasks, 1))}\n"
        f"    return of | {{{given}}}\n"
    )


@pytest.mark.parametrize(
    ("code", "message", "overrides"),
    [
        ("x = 1\ny = 1 / 0\n", r":2: ZeroDivisionError: division by zero; expected", []),
        ("def arrays(:\n", r":1: SyntaxError: .*; expected code that runs", []),
        ("import nothing_of_that_name\n", r":1: ModuleNotFoundError: No module named", []),
        ("raise SystemExit(3)\n", r":1: SystemExit: 3", []),
        (HEAD + "def arrays():\n    return z\n", r":5: NameError: name 'z'", []),
        (HEAD + "def arrays(n): return {}\n", r":1: TypeError: arrays\(\) missing 1", []),
        ("x = 1\n", r": has neither of arrays\(\) and draw\(\); expected one", []),
        ("def arrays(): 0\ndef draw(): 0\n", r": has both of arrays\(\) and draw\(\)", []),
        (HEAD + "def arrays(): return x, y\n", r": arrays gives tuple; expected a dict", []),
        (arrays("'x': x"), r": arrays gives x; expected a dict with x, y", []),
        (arrays("'x': x, 'y': y, 'taks': y"), r": arrays gives taks; expected task", []),
        (arrays("'x': x[:, 0], 'y': y"), r": x has shape \[20\]; expected \[n, ...\]", []),
        (arrays("'x': x, 'y': y[1:]"), r": y has shape \[19\], and x has 20 rows", []),
        (arrays("'x': x, 'y': y + .5"), r": y is float64 of shape \[20\]; expected whole", []),
        (arrays("'x': x / x, 'y': y"), r": arrays: x: row 0 has NaN or infinity", []),
        (arrays("'x': x * 1e300, 'y': y"), r": arrays: x: row 0 has NaN or infinity", []),
        (arrays("'x': x.astype(str), 'y': y"), r": arrays: x has <U\d+; expected numbers", []),
        (arrays("'x': x, 'y': y, 'split': y"), r": row 0, split: 0; expected test, tra", []),
        (
            arrays("'x': x, 'y': y, 'split': np.where(x[:, 0] < 4, 'train', 'test')"),
            r": arrays: class 0 is in two splits, .* in row \d+ and .* in row \d+; expected one",
            [],
        ),
        (arrays("'x': x, 'y': y, 'task': y"), r"^data.predicts=classes: .* a task; expected n", []),
        (arrays("'x': x, 'y': y"), r"^data.predicts=numbers: .* no task;", ["numbers"]),
        (arrays("'x': x, 'y': y / y, 'task': y"), r": y: row 0 has NaN", ["numbers"]),
        (draw("'query_x': None"), r": draw: query_x has shape \[\]; expected \[1, 2, ...\]", []),
        (
            draw("'query_x': np.ones((1, 2, 3))"),
            r": support_x has rows \[2\] and query_x \[3\]",
            [],
        ),
        (draw("'query_y': np.zeros((1, 2), int)"), r": query_y: expected 0..1, 1 of each", []),
        (draw("'query_y': np.zeros((1, 2, 1))"), r": query_y: expected 0..1, 1 of each|shape", []),
        (draw("'support_x': np.full((1, 2, 2), np.nan)"), r": support_x: row 0 has NaN", []),
        (draw(""), r"^data.predicts=shared: .* has draw\(\); expected classes or", ["shared"]),
    ],
)
def test_what_is_wrong_costs_one_line(
    tmp_path: Path, code: str, message: str, overrides: list[str]
) -> None:
    words = [word for each in overrides for word in (f"data.predicts={each}", "ways=1")]
    path = tmp_path / "mine.py"
    path.write_text(code)
    chosen = config("data=python", "model=mlp", "data.trust=true", f"data.module='{path}'", *words)
    chosen.data.least = 2
    with np.errstate(all="ignore"), pytest.raises(UserError, match=message) as raised:
        python.load(chosen.data, "", CPU)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    chosen = config(
        "data=python", "model=mlp", "data.trust=true", f"data.module='{tmp_path / 'none.py'}'"
    )
    with pytest.raises(UserError, match=r"^data.module=.*none.py: No such file or directory; exp"):
        python.load(chosen.data, "", CPU)
    chosen.data.module = None
    with pytest.raises(UserError, match=r"^data.module=null: data=python needs a Python file"):
        python.load(chosen.data, "", CPU)
