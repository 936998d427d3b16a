"""What no run can do is refused before anything is built."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.schema import (
    EVERY_STEP,
    AlgoConfig,
    Batching,
    Config,
    DataConfig,
    Head,
    Rotations,
    Split,
    lookup,
    values,
)


def check(config: Config) -> None:
    """Refuse what no run can do, before anything is built.

    Raises:
        UserError: names the key, its value and what it may be.
    """
    for name, value, known in values(config):
        for number in value if isinstance(value, list) else [value]:
            if known.bounds and number is not None and not known.fits(number):
                kind = "" if known.most is not None else "a finite number "
                raise UserError(f"{name}={number}: expected {kind}{known.bounds}")
        if isinstance(value, str) and known.words is not None and value not in [*known.words]:
            raise UserError(f"{name}={value}: expected {nearest(value, known.spellings)}")
    _check_model(config)
    _check_fractions(config.data)
    if config.data.shared:
        _check_shared(config)
    elif config.data.regression:
        if config.algo.classifies:
            raise UserError(
                f"algo={config.algo.name}: data={config.data.name} is regression; "
                "choose algo=maml or another that is not only for classes"
            )
        if config.ways != 1:
            raise UserError(
                f"ways={config.ways}: data={config.data.name} is regression, expected ways=1"
            )
    else:
        _check_classes(config)
    if config.chunk is not None and config.batching is not Batching.stacked:
        raise UserError(
            f"chunk={config.chunk}: batching={config.batching.value} does not read it; "
            "expected batching=stacked"
        )
    _check_head(config)
    _check_scored(config)
    _check_acceleration(config)
    _check_device(config.device)
    target = config.limits.target
    if target is not None and target > 1 and not config.data.regression:
        raise UserError(f"limits.target={target:g}: expected an accuracy, above 0 to 1")
    ranks = config.ranks
    if ranks not in (None, "slurm") and not (ranks.isdecimal() and int(ranks)):
        raise UserError(f"ranks={ranks}: expected a number of processes, or slurm")


def _check_fractions(data: DataConfig) -> None:
    if data.fractions is not None and data.split_file is None:
        shares = list(asdict(data.fractions).values())
        if abs(sum(shares) - 1) > 1e-6:
            raise UserError(f"data.fractions={'+'.join(map(str, shares))}: expected a sum of 1")


def _check_shared(config: Config) -> None:
    """Of tasks whose labels mean the same in all of them."""
    data, algo = config.data, config.algo
    if algo.by_way:
        raise UserError(
            f"algo={algo.name}: takes the classes of each task for its own, and those of "
            f"data={data.name} with data.task mean the same in all; choose algo=maml or another "
            "that adapts one head"
        )
    if config.ways != 1:
        raise UserError(f"ways={config.ways}: a value of data.task is a task, expected ways=1")
    if algo.head is not Head.own:
        raise UserError(f"algo.head={algo.head.value}: with data.task, expected own")


def _check_head(config: Config) -> None:
    algo, model = config.algo, config.model
    if algo.head is not Head.own and config.data.regression:
        raise UserError(
            f"algo.head={algo.head.value}: data={config.data.name} is regression; expected own"
        )
    if algo.head is Head.shared and algo.pretrains:
        raise UserError(f"algo.head=shared: algo={algo.name} takes own or prototypes")
    if algo.together and not config.eval.transductive:
        raise UserError(
            f"eval.transductive=false: algo={algo.name} judges the queries of a task together; "
            "expected algo=ncm, ridge or logistic"
        )
    if getattr(model, "freeze", None) == "all":
        if algo.moves_body:
            raise UserError(
                f"model.freeze=all: algo={algo.name} learns a body; expected model.freeze=none, "
                "or algo=ncm, ridge or logistic"
            )
        if algo.head is Head.prototypes and not algo.pretrains and not algo.learn_rates:
            raise UserError(
                "algo.head=prototypes: leaves nothing to learn with model.freeze=all; expected "
                "model.freeze=none or algo=ncm"
            )


def _check_scored(config: Config) -> None:
    told, last = config.eval.score_steps, config.algo.eval_steps
    if told is None or told == EVERY_STEP:
        return
    steps = told if isinstance(told, list) else [None]
    if not all(type(step) is int and 0 <= step <= last for step in steps):
        raise UserError(
            f"eval.score_steps={str(told).replace(' ', '')}: expected all, or a list of numbers "
            f"from 0 to algo.eval_steps={last}, such as [0,{last}]"
        )


def _check_acceleration(config: Config) -> None:
    algo = config.algo
    if config.compile is True and (why := not_compiled(algo)):
        raise UserError(f"compile=true: {why}")
    if config.recompute and (algo.first_order or not algo.recomputable):
        raise UserError(
            f"recompute=true: algo={algo.name} keeps no graph of its inner steps that could be "
            "spared; expected recompute=false"
        )
    for key in ("multi_step", "first_order_iterations", "learn_rates"):
        value = getattr(algo, key)
        if config.recompute and value:
            raise UserError(f"recompute=true: not with algo.{key}={str(value).lower()}")


def not_compiled(algo: AlgoConfig) -> str | None:
    """Why nothing of an algorithm can be compiled; None where something can."""
    if not algo.compilable:
        return f"algo={algo.name} cannot; expected compile=false"
    if algo.head is not Head.own:  # whose rows are as many as labels say
        return f"not with algo.head={algo.head.value}; expected algo.head=own"
    if algo.first_order_iterations:
        return f"not with algo.first_order_iterations={algo.first_order_iterations}"
    return None


def _check_model(config: Config) -> None:
    model, data = config.model, config.data
    if model.images_only and (
        data.regression or not data.images if model.sized else data.image_size is None
    ):
        raise UserError(
            f"model={model.name}: takes images, and data={data.name} has none; choose model=mlp"
        )
    smallest = model.smallest_image
    if model.images_only and data.image_size is not None and data.image_size < smallest:
        raise UserError(
            f"data.image_size={data.image_size}: model={model.name} needs {smallest} or more"
        )


def _check_classes(config: Config) -> None:
    if config.ways < 2:
        raise UserError(f"ways={config.ways}: expected 2 or more for classification")
    data = config.data
    if data.image_size is not None and data.augment.crop >= data.image_size:
        raise UserError(
            f"data.augment.crop={data.augment.crop}: expected less than "
            f"data.image_size={data.image_size}"
        )
    sized = () if config.model.sized or not data.images else ("image_size",)
    for name in sized if data.counted else (*sized, "samples", "classes"):
        if getattr(data, name) is None:
            raise UserError(f"data.{name}=null: data={data.name} needs a value")
    if data.counted:
        return  # to `check_counted`
    assert data.classes is not None
    assert data.samples is not None
    for split, rotated in (
        ("train", data.rotations is not Rotations.none),
        ("valid", data.rotations is Rotations.all),
        ("test", data.rotations is Rotations.all),
    ):
        _check_ways(config, split, getattr(data.classes, split) * (4 if rotated else 1))
    for taken, images in _images_taken(config):
        if images > data.samples:
            raise UserError(
                f"{taken}: data={data.name} has "
                f"{data.samples} images of a class, expected their sum to be at most that"
            )


def check_split(config: Config, used: Collection[str]) -> None:
    """Refuse to sample other splits than the test where that has all classes.

    Raises:
        UserError: names what can be done.
    """
    data = config.data
    if data.split == Split.test and data.split_file is None and {*used} != {"test"}:
        raise UserError(
            f"data.split=test: leaves algo={config.algo.name} no classes to train on; expected "
            "data.split=random, or algo=ncm, which has no meta-training"
        )


def check_counted(
    config: Config, splits: Mapping[str, Mapping[str, int]], used: Collection[str]
) -> None:
    """The same checks as of `check` for data whose classes show when it is loaded.

    Args:
        splits: for each split, the number of images of each of its classes.
        used: the splits that are sampled.

    Raises:
        UserError: a split has too few classes, or a class too few images.
    """
    for split in used:
        if config.ways > len(splits[split]):
            raise UserError(_too_few(config, splits, split, used))
    everything = {name: images for split in used for name, images in splits[split].items()}
    tests_only = {*used} == {"test"}
    taken, images = max(_images_taken(config)[: 1 if tests_only else 2], key=lambda pair: pair[1])
    small = [name for name in everything if everything[name] < images]
    if small:
        smallest = min(small, key=everything.__getitem__)
        data = config.data
        examples = "images" if data.images else "rows"
        least, groups = f"min_{examples}", "tasks" if data.grouped else "classes"
        leave_out = f", or data.{least}={images}, which leaves them out"
        raise UserError(
            f"{taken}: {len(small)} of {len(everything)} {groups} have fewer than {images} "
            f"{examples}, the smallest, {smallest}, has {everything[smallest]}; expected a smaller "
            f"sum{leave_out if least in data.reads else ''}"
        )


def _check_ways(config: Config, split: str, classes: int) -> None:
    if config.ways > classes:
        raise UserError(_has(config, split, classes) + ", expected at most that many")


def _has(config: Config, split: str, classes: int) -> str:
    return f"ways={config.ways}: data={config.data.name} has {classes} classes in its {split} split"


def _too_few(
    config: Config, splits: Mapping[str, Mapping[str, int]], split: str, used: Collection[str]
) -> str:
    """What is wrong with the number of classes, and the ways out."""
    data, trains = config.data, "train" in used
    has = _has(config, split, len(splits[split]))
    if data.kind != "folder":
        return f"{has}, expected at most that many"
    fits = min(len(splits[each]) for each in used)
    if data.split_file is not None:
        others = [f"more classes in data.split_file={data.split_file}"]
    elif data.split == Split.test:
        others = []
        if data.left_out:
            has += f" beside {len(data.left_out)} that the run has met"
    elif (labels := getattr(data, "labels", None)) is not None:  # which may say the splits
        others = [f"more classes in data.labels={labels}"]
    elif trains and data.split == Split.groups:
        others = ["data.split=random", "other data.fractions"]
    elif trains and data.least == config.ways:  # the splits fit it where they can
        classes = len({name for each in used for name in splits[each]})
        has = f"ways={config.ways}: data={data.name} has {classes} classes, too few to train on "
        has += f"{config.ways} and to test on {config.ways} others"
        fits = classes // 2
        others = ["algo=ncm data.split=test, which trains on none", "`fewshot adapt`"]
    else:
        others = ["data.split=test, which tests on all that the run has not met"]
    ways = [f"ways={fits}"] if fits >= 2 else []
    return f"{has}; expected {', or '.join([*ways, *others]) or 'more classes'}"


def _images_taken(config: Config) -> list[tuple[str, int]]:
    """The keys that say how many images of a class a task takes, and their sum: test, training."""
    shots = "shots" if config.algo.train_shots is None else "algo.train_shots"
    pairs = (("shots", "eval.queries"), (shots, "queries"))
    return [
        (
            f"{one}={lookup(config, one)} and {two}={lookup(config, two)}",
            lookup(config, one) + lookup(config, two),
        )
        for one, two in pairs
    ]


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
        raise UserError(f"device={device}: expected auto, cpu, cuda or cuda:N")
