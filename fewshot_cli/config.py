"""What a run can be told: the typed schema of every group, and the checks across its keys."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from typing import Any, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


class UserError(Exception):
    """The user's input is wrong: one line that names the key or file; exit status 2."""


class Split(Enum):
    """Where the classes of meta-train, meta-validation and meta-test come from."""

    random = "random"  # drawn from all characters with `split_seed`
    alphabets = "alphabets"  # Omniglot's own: background for training, evaluation for the test
    groups = "groups"  # all classes of a folder of classes go to the same split


class Colour(Enum):
    grey = "grey"
    rgb = "rgb"


class Rotations(Enum):
    """Which splits get every class again, turned by 90, 180 and 270 degrees, as new classes."""

    none = "none"
    train = "train"
    all = "all"


class Optimizer(Enum):
    sgd = "sgd"
    adam = "adam"


class Schedule(Enum):
    """How the meta learning rate moves over the iterations; both falls end at 0."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class Downsample(Enum):
    """How a CNN-4 block halves its picture."""

    stride = "stride"
    pool = "pool"


class Features(Enum):
    """What a CNN-4 hands to its linear head."""

    mean = "mean"
    flatten = "flatten"


class Batching(Enum):
    """How many tasks adapt at once."""

    auto = "auto"  # by a rule, from the model, the task and the device
    stacked = "stacked"  # `chunk` at once, or all
    sequential = "sequential"  # one after another: learn2learn's own loop


class Precision(Enum):
    float32 = "float32"
    bf16 = "bf16"  # mixed: products in bfloat16, weights and statistics in float32


class Layers(Enum):
    """What fine-tuning moves."""

    all = "all"
    head = "head"


class Checkpoint(Enum):
    best = "best"
    last = "last"


@dataclass
class SplitSizes:
    """Numbers of classes, before rotations."""

    train: int = MISSING
    valid: int = MISSING
    test: int = MISSING


@dataclass
class Fractions:
    """Shares of the classes; their sum is 1."""

    train: float = MISSING
    valid: float = MISSING
    test: float = MISSING


@dataclass
class Augment:
    """What changes the images of meta-training, each by its own draw."""

    flip: bool = False  # left and right, half of them
    crop: int = 0  # pixels around an image that are reflected before it is cut out anew
    colour: float = 0.0  # brightness, contrast and saturation change by up to this share


@dataclass
class DataConfig:
    name: str = MISSING
    kind: str = MISSING  # the file in fewshot_cli/data/
    regression: bool = False
    counted: bool = False  # `classes` and `samples` show when the data is loaded
    image_size: int | None = None  # pixels a side; none: the inputs are no images
    classes: SplitSizes | None = None
    samples: int | None = None  # images of each class
    root: str | None = None
    split: Split = Split.random
    split_seed: int = 0
    rotations: Rotations = Rotations.none
    colour: Colour = Colour.rgb
    invert: bool = False
    min_images: int | None = None  # of a class, or it is left out
    fractions: Fractions | None = None
    split_file: str | None = None
    augment: Augment = field(default_factory=Augment)


@dataclass
class ModelConfig:
    name: str = MISSING
    kind: str = MISSING  # the file in fewshot_cli/models/
    images_only: bool = False
    smallest_image: int = 2  # pixels a side; with max-pooling, a CNN-4 needs more
    hidden: list[int] = field(default_factory=list)
    channels: int = 64
    downsample: Downsample = Downsample.stride
    features: Features = Features.mean


@dataclass
class AlgoConfig:
    """One schema for all algorithms, so that one sweep can set a key across several of them.

    An algorithm's YAML lists the keys that it reads.
    """

    name: str = MISSING
    kind: str = MISSING  # the file in fewshot_cli/algorithms/
    first_order: bool = False
    compilable: bool = False  # its file makes use of `compile` and `recompute`
    pretrains: bool = False  # trains one network on all meta-train classes
    classifies: bool = False  # and does nothing else
    inner_lr: float = 0.01
    inner_steps: int | None = None  # none: no inner loop in training
    inner_optimizer: Optimizer = Optimizer.sgd
    inner_batch: int | None = None  # images an inner step; none: the whole support set
    carry_state: bool = False  # the inner optimiser's state goes on from task to task
    train_shots: int | None = None  # images of a class in training; none: `shots`
    layers: Layers = Layers.all
    multi_step: int = 0  # iterations until only the last inner step's query loss counts
    learn_rates: bool = False  # the inner rates, one for each layer and step
    first_order_iterations: int = 0  # that come before those of second order
    eval_steps: int = 0
    eval_inner_batch: int | None = None
    meta_optimizer: Optimizer = Optimizer.adam
    meta_lr: float = 0.001
    meta_schedule: Schedule = Schedule.constant
    meta_clip: float | None = None  # clips every entry of the meta-gradient to +-this


@dataclass
class EvalConfig:
    tasks: int = MISSING
    valid_tasks: int = MISSING
    every: int = MISSING  # iterations between two meta-validations
    queries: int = MISSING  # per class
    seed: int = MISSING  # draws the validation and test tasks, the same for every run
    checkpoint: Checkpoint = MISSING
    transductive: bool = MISSING  # all queries of a task in one batch, or each with the support set


@dataclass
class TrackerConfig:
    name: str = MISSING
    kind: str = MISSING  # the file in fewshot_cli/trackers/
    uri: str | None = None


@dataclass
class CheckpointConfig:
    """How often to save, besides at each meta-validation."""

    every: int | None = MISSING  # iterations
    minutes: float = MISSING


@dataclass
class Published:
    """What a paper gives for an experiment."""

    source: str = MISSING
    iterations: int = MISSING  # of its training
    figures: dict[int, float] = MISSING  # accuracy (loss for regression) by adaptation steps
    ci95: float | None = None


@dataclass
class Config:
    """A whole run; conf/config.yaml holds the defaults."""

    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    algo: AlgoConfig = MISSING
    tracker: TrackerConfig = MISSING
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    seed: int = MISSING
    ways: int = MISSING
    shots: int = MISSING
    queries: int = MISSING  # per class, in training
    meta_batch: int = MISSING  # tasks a meta-update
    iterations: int = MISSING  # meta-updates
    log_every: int = MISSING  # iterations a row of metrics.csv
    record_paths: bool = MISSING  # the weights at each meta-validation, for `fewshot plot paths`
    batching: Batching = MISSING
    chunk: int | None = MISSING  # tasks that adapt at once with batching=stacked; none: all
    compile: bool = MISSING  # the meta-update, by torch.compile
    recompute: bool = MISSING  # inner steps on the backward pass, to save memory
    precision: Precision = MISSING
    published: Published | None = None  # to compare with; an experiment brings it
    device: str = MISSING
    threads: int | None = MISSING  # of this process; none: as many as the machine has cores
    cache_dir: str = MISSING


def register() -> None:
    """Make the schemas known to Hydra, under the names that conf/ refers to."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)


POSITIVE = [
    *("ways", "shots", "queries", "meta_batch", "log_every", "chunk"),
    "threads",
    *("eval.tasks", "eval.valid_tasks", "eval.every", "eval.queries"),
    *("algo.inner_lr", "algo.inner_steps", "algo.inner_batch", "algo.eval_inner_batch"),
    *("algo.train_shots", "algo.meta_lr", "algo.meta_clip", "model.channels", "model.hidden"),
    *("data.image_size", "data.samples", "checkpoint.every", "checkpoint.minutes"),
    *("data.classes.train", "data.classes.valid", "data.classes.test", "data.min_images"),
    *("data.fractions.train", "data.fractions.valid", "data.fractions.test"),
]
NOT_NEGATIVE = [
    *("seed", "eval.seed", "iterations", "algo.eval_steps", "data.split_seed"),
    *("algo.multi_step", "algo.first_order_iterations"),
    *("data.augment.crop", "data.augment.colour"),
]


def check(config: Config) -> None:
    """Refuse what no run can do, before anything is built.

    Raises:
        UserError: names the key, its value and what it may be.
    """
    for keys, wanted, fits in (
        (POSITIVE, "above 0", operator.gt),
        (NOT_NEGATIVE, "0 or more", operator.ge),
    ):
        for key in keys:
            values = lookup(config, key)
            for value in values if isinstance(values, list) else [values]:
                # Written so that nan fails too.
                number = isinstance(value, int | float)  # in a list there may be anything
                if value is not None and not (number and fits(value, 0) and value < float("inf")):
                    raise UserError(f"{key}={value}: expected a finite number {wanted}")
    _check_model(config)
    if config.data.regression:
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
    _check_tactics(config)
    _check_device(config.device)


def _check_tactics(config: Config) -> None:
    algo = config.algo
    if config.compile and not algo.compilable:
        raise UserError(f"compile=true: algo={algo.name} cannot; expected compile=false")
    if config.recompute and (algo.first_order or not algo.compilable):
        raise UserError(
            f"recompute=true: algo={algo.name} keeps no graph of its inner steps that could be "
            "spared; expected recompute=false"
        )
    for tactic in ("compile", "recompute"):
        for key in ("multi_step", "first_order_iterations", "learn_rates"):
            value = getattr(algo, key)
            if getattr(config, tactic) and value and (tactic, key) != ("compile", "learn_rates"):
                raise UserError(f"{tactic}=true: not with algo.{key}={str(value).lower()}")


def _check_model(config: Config) -> None:
    model, data = config.model, config.data
    if model.images_only and data.image_size is None:
        raise UserError(
            f"model={model.name}: takes images, and data={data.name} has none; choose model=mlp"
        )
    smallest = 16 if model.downsample is Downsample.pool else model.smallest_image
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
    if data.augment.colour > 1:
        raise UserError(f"data.augment.colour={data.augment.colour}: expected 0 to 1")
    for key in ("image_size",) if data.counted else ("image_size", "samples", "classes"):
        if getattr(data, key) is None:
            raise UserError(f"data.{key}=null: data={data.name} needs a value")
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


def check_counted(config: Config, splits: Mapping[str, Mapping[str, int]]) -> None:
    """The same checks for data whose classes show when it is loaded.

    Args:
        splits: for each split, the number of images of each of its classes.

    Raises:
        UserError: a split has too few classes, or a class too few images.
    """
    for split, classes in splits.items():
        _check_ways(config, split, len(classes))
    everything = {name: images for classes in splits.values() for name, images in classes.items()}
    taken, images = max(_images_taken(config), key=lambda pair: pair[1])
    small = [name for name in everything if everything[name] < images]
    if small:
        smallest = min(small, key=everything.__getitem__)
        leave_out = f", or data.min_images={images}, which leaves them out"
        raise UserError(
            f"{taken}: {len(small)} of {len(everything)} classes have fewer than {images} images, "
            f"the smallest, {smallest}, has {everything[smallest]}; expected a smaller sum"
            f"{leave_out if config.data.kind == 'folder' else ''}"
        )


def _check_ways(config: Config, split: str, classes: int) -> None:
    if config.ways > classes:
        raise UserError(
            f"ways={config.ways}: data={config.data.name} has {classes} classes in its "
            f"{split} split, expected at most that many"
        )


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


def lookup(config: Any, key: str) -> Any:
    """The value at a dotted key; None where a part of the path is None."""
    for part in key.split("."):
        config = None if config is None else getattr(config, part)
    return config


def leaves(schema: Any = Config, prefix: str = "") -> list[str]:
    """Every dotted key of the schema, for "did you mean"."""
    keys: list[str] = []
    for name, hint in get_type_hints(schema).items():
        options = [hint, *get_args(hint)]
        inner = next((option for option in options if is_dataclass(option)), None)
        keys += leaves(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return keys
