from __future__ import annotations

import pytest
from helpers import config

from fewshot_cli.settings.checks import check_counted, check_split
from fewshot_cli.settings.choices import CODE, all_keys, options
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Key, keys, lookup


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["ways=5000"], r"ways=5000: data=glyphs has \d+ classes in its train split"),
        (["data.classes.test=9", "ways=10"], r"ways=10: data=glyphs has 9 classes in its test"),
        (["ways=1"], r"ways=1: expected 2 or more"),
        (["shots=10"], r"shots=10 and eval.queries=15: data=glyphs has 20 images"),
        (["shots=10", "eval.queries=5", "queries=11"], r"shots=10 and queries=11"),
        (["algo=reptile", "queries=11"], r"algo.train_shots=10 and queries=11"),
        (["data=sinusoid"], r"model=cnn4: takes images.*choose model=mlp"),
        (["data=sinusoid", "model=mlp", "ways=5"], r"ways=5: data=sinusoid is regression"),
        (
            ["model=cnn4_pool", "data.image_size=14"],
            r"data.image_size=14: model=cnn4_pool needs 16",
        ),
        (["model=resnet12", "data.image_size=15"], r"image_size=15: model=resnet12 needs 16"),
        (["device=gpu"], r"device=gpu: expected auto, cpu, cuda"),
        (["device=cpu:1"], r"device=cpu:1: expected"),
        (["algo.inner_lr=nan"], r"algo.inner_lr=nan: expected a finite number above 0"),
        (["algo.meta_lr=inf"], r"algo.meta_lr=inf: expected a finite number above 0"),
        (["data=omniglot", "ways=101"], r"ways=101: data=omniglot has 100 classes in its valid"),
        (["data.samples=null"], r"data.samples=null: data=glyphs needs a value"),
        (["data.classes=null"], r"data.classes=null: data=glyphs needs a value"),
        (["model=mlp", "data.image_size=null"], r"data.image_size=null: data=glyphs needs"),
        (["model=mlp", "model.hidden=[40,0]"], r"model.hidden=0: expected"),
        (["algo=protonet", "compile=true"], r"compile=true: algo=protonet cannot"),
        (
            ["algo.first_order_iterations=9", "compile=true"],
            r"compile=true: not with algo.first_order_iterations=9",
        ),
        (["compile=often"], r"compile=often: expected auto, false, true"),
        (["compile=aut"], r"compile=aut: expected auto$"),
        (["compile=1"], r"compile=1: expected auto, false, true"),
        (
            ["model=fc", "algo.head=shared", "compile=true"],
            r"compile=true: not with algo.head=shared; expected algo.head=own",
        ),
        (["algo=fomaml", "recompute=true"], r"recompute=true: algo=fomaml keeps no graph"),
        (["algo=reptile", "recompute=true"], r"recompute=true: algo=reptile keeps no graph"),
        (["data=folder", "data.augment.crop=32"], r"data.augment.crop=32: expected less than"),
        (["data=folder", "data.augment.colour=1.5"], r"data.augment.colour=1.5: expected 0 to 1"),
        (
            ["data=folder", "data.fractions={train:0.5,valid:0.2,test:0.2}"],
            r"data.fractions=0.5\+0.2\+0.2: expected a sum of 1",
        ),
        (["data.augment.flip=true"], r"data.augment.flip: data=glyphs does not read it"),
        (["chunk=4"], r"chunk=4: batching=auto does not read it; expected batching=stacked"),
        (["batching=sequential", "chunk=4"], r"chunk=4: batching=sequential does not read it"),
    ],
)
def test_what_no_run_can_do_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        job_config(overrides)


BOUNDED = {name: key for name, key in keys(all_keys()).items() if key.bounds}


@pytest.mark.parametrize("name", BOUNDED)
def test_every_bound_refuses_what_is_below_it(name: str) -> None:
    group, _, rest = name.partition(".")
    readers = [
        option.name
        for option in (options(group) if group in CODE else [])
        if rest.partition(".")[0] in option.content()
    ]
    key: Key = BOUNDED[name]
    wrong = -1 if key.above is None else 0
    value = f"[{wrong}]" if name == "model.hidden" else wrong
    choice = [f"{group}={readers[-1]}"] if readers else []
    regression = ["model=mlp"] if choice in (["data=sinusoid"], ["data=table"]) else []
    with pytest.raises(UserError, match=rf"{name}={wrong}(\.0)?: expected .*{key.bounds}"):
        config(*choice, *regression, f"{name}={value}")


def test_every_key_says_what_it_is() -> None:
    for name, key in keys(all_keys()).items():
        assert key.help, name
        assert "\n" not in key.help


def test_rotations_raise_the_number_of_ways_that_there_are() -> None:
    big = ["data=omniglot", "ways=1000"]
    rotated = [*big, "data.rotations=all", "data.classes.test=300", "data.classes.valid=300"]
    assert job_config(rotated).ways == 1000
    with pytest.raises(UserError, match=r"ways=1000"):
        job_config(big)


def test_keys_are_all_of_them() -> None:
    found = keys()
    assert {"seed", "algo.inner_lr", "data.classes.train", "eval.tasks"} <= set(found)
    assert "data" not in found
    config = job_config([])
    for key in found:
        lookup(config, key)


ALL = ["train", "valid", "test"]


def counted(train: int, valid: int, test: int) -> dict[str, dict[str, int]]:
    """Classes with 40 images; meta-validation without its own has those of meta-train."""
    names = {
        split: {f"{split} {number}": 40 for number in range(classes)}
        for split, classes in {"train": train, "valid": valid, "test": test}.items()
    }
    return names | {"valid": names["valid"] or names["train"]}


@pytest.mark.parametrize(
    ("overrides", "splits", "used", "message"),
    [
        (
            [],
            (5, 1, 3),
            ALL,
            r"ways=5: data=folder has 9 classes, too few to train on 5 and to test on 5 others; "
            r"expected ways=4, or algo=ncm data.split=test, which trains on none, or `few",
        ),
        ([], (1, 1, 1), ALL, r"has 3 classes, .*; expected algo=ncm data.split=test"),
        (
            ["data.split=groups"],
            (9, 3, 6),
            ALL,
            r"ways=5: data=folder has 3 classes in its valid split; expected ways=3, or "
            r"data.split=random, or other data.fractions$",
        ),
        (
            ["data.split_file=s.csv"],
            (9, 5, 3),
            ALL,
            r"has 3 classes in its test split; expected ways=3, or more classes in data.split_file",
        ),
        (["data.split=test"], (0, 0, 3), ["test"], r"in its test split; expected ways=3$"),
        (["data.split=test"], (0, 0, 1), ["test"], r"in its test split; expected more classes$"),
        (
            ["algo=scratch"],
            (9, 3, 3),
            ["test"],
            r"has 3 classes in its test split; expected ways=3, or data.split=test, which tests",
        ),
        (["shots=30"], (0, 0, 9), ["test"], r"shots=30 and eval.queries=15: 9 of 9 classes"),
    ],
)
def test_too_few_classes_in_a_folder_and_the_ways_out(
    overrides: list[str], splits: tuple[int, int, int], used: list[str], message: str
) -> None:
    config = job_config(["data=folder", *overrides])
    config.data.least = config.ways
    with pytest.raises(UserError, match=message) as raised:
        check_counted(config, counted(*splits), used)
    assert "\n" not in str(raised.value)


def test_only_the_splits_that_are_used_are_checked() -> None:
    check_counted(job_config(["data=folder", "data.split=test"]), counted(0, 0, 5), ["test"])
    check_counted(job_config(["data=folder", "algo=scratch"]), counted(1, 1, 5), ["test"])
    check_counted(job_config(["data=folder", "queries=90"]), counted(0, 0, 5), ["test"])
    with pytest.raises(UserError, match=r"ways=5: data=cub has 3 classes in its valid split, exp"):
        check_counted(job_config(["data=cub", "model=mlp"]), counted(9, 3, 9), ALL)


def test_training_needs_classes_that_are_not_all_for_the_test() -> None:
    config = job_config(["data=folder", "data.split=test"])
    check_split(config, ["test"])
    for used in (ALL, ["train"]):
        with pytest.raises(UserError, match=r"data.split=test: leaves algo=maml no classes to tr"):
            check_split(config, used)
    check_split(job_config(["data=folder", "data.split=test", "data.split_file=s.csv"]), ALL)
