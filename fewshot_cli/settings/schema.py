"""What a run can be told: each key once, with its type, default, bounds, role and meaning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from typing import Any, ClassVar, get_args, get_type_hints

from omegaconf import MISSING

from fewshot_cli.settings.measure import ACCURACY, LOSS, Measure


class Role(Enum):
    """What a key is for. `identity.py` says which roles are part of what a run is."""

    setting = "setting"  # shapes the results
    seed = "seed"
    length = "length"  # how long the run is: it may change when the run goes on
    means = "means"  # how the results are computed
    place = "place"  # where something is
    habit = "habit"  # how often something is written
    label = "label"  # says something about the run
    choice = "choice"  # names a choice of a group; no user sets it by itself
    fact = "fact"  # what a choice is; no user sets it by itself


class Shapes(Enum):
    """What a key shapes, from the start of a run to its end."""

    training = "training"
    tasks = "tasks"  # which tasks there are, those of the meta-test included
    test = "test"  # how a trained network is tested on its tasks


@dataclass(frozen=True)
class Key:
    """What `key` says of a field.

    Attributes:
        bits: whether another value leaves other weights.
        words: those that a text may be; none: any text.
    """

    default: Any
    role: Role = Role.setting
    shapes: Shapes = Shapes.training
    above: float | None = None
    least: float | None = None
    most: float | None = None
    bits: bool = True
    words: type[StrEnum] | None = None
    help: str = ""

    @property
    def bounds(self) -> str:
        """The numbers that fit, in words; empty where all do."""
        if self.above is not None:
            return "above 0" if self.above == 0 else f"above {self.above}"
        if self.most is not None:
            return f"{self.least} to {self.most}"
        return "" if self.least is None else f"{self.least} or more"

    @property
    def spellings(self) -> list[str]:
        """All that may be written, `true` and `false` included; empty where any text fits."""
        truths = ["true", "false"] if isinstance(self.default, bool) else []
        return [*truths, *(self.words or [])]

    def fits(self, value: object) -> bool:
        """Whether a number is within the bounds; nan is within none."""
        return (
            isinstance(value, int | float)
            and math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
        )


def key(default: Any = MISSING, **said: Any) -> Any:
    """A field of a schema; the arguments are those of `Key`.

    A default never changes once it is released, since it is no part of what a run is; it is what
    the code did before it had the key.
    """
    known = {"key": Key(default, **said)}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=known)
    return field(default=default, metadata=known)


class Group:
    """The keys of a group that its choices share, and what a choice is, which no key says.

    A choice's file of code may derive a class of its own from its group's, with keys that it alone
    has and with other class attributes.

    Attributes:
        reads: the names of the keys that the choice reads; the others keep their defaults and are
            not recorded.
    """

    def __post_init__(self) -> None:
        self.reads = frozenset(each.name for each in fields(self))  # type: ignore[arg-type]


class Split(StrEnum):
    """Where the classes of meta-train, meta-validation and meta-test come from."""

    random = "random"  # drawn from all characters with `split_seed`
    alphabets = "alphabets"  # Omniglot's own: background for training, evaluation for the test
    groups = "groups"  # all classes of a folder of classes go to the same split
    test = "test"  # all classes are for the meta-test


class Colour(Enum):
    grey = "grey"
    rgb = "rgb"


class Rotations(Enum):
    """Which splits get every class again, turned by 90, 180 and 270 degrees, as new classes."""

    none = "none"
    train = "train"
    all = "all"


class Missing(Enum):
    """What becomes of the missing numbers of a table."""

    refuse = "refuse"
    median = "median"  # of meta-train's rows


class Predicts(Enum):
    """What the targets of tasks are."""

    classes = "classes"  # of each task its own
    shared = "shared"  # classes that mean the same in all tasks
    numbers = "numbers"


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


class Head(Enum):
    """How the head of a task begins."""

    own = "own"  # as the algorithm has it: learned, or with no weights for fine-tuning
    prototypes = "prototypes"  # at the class means of the support set (ProtoMAML)
    shared = "shared"  # one learned row for every class (UNICORN-MAML)


class Statistics(Enum):
    """By which mean and variance batch norm works."""

    batch = "batch"  # of the batch that it sees
    frozen = "frozen"  # of the pretraining
    support = "support"  # of the task's support set


class WandbMode(StrEnum):
    """Where W&B's client writes, in its own words."""

    online = "online"  # to its server
    offline = "offline"  # to files, which `wandb sync` sends
    shared = "shared"  # to a run that other processes write too
    disabled = "disabled"  # nowhere


class Compile(StrEnum):
    """What `compile` may be besides true and false."""

    auto = "auto"  # true where a rule says that it pays (training/compiling.py)


EVERY_STEP = "all"  # of eval.score_steps


class Checkpoint(Enum):
    best = "best"
    last = "last"


@dataclass
class SplitSizes:
    """Numbers of classes, before rotations."""

    train: int = key(shapes=Shapes.tasks, above=0, help="classes of meta-train")
    valid: int = key(shapes=Shapes.tasks, above=0, help="classes of meta-validation")
    test: int = key(shapes=Shapes.tasks, above=0, help="classes of meta-test")


@dataclass
class Fractions:
    """Shares of the classes; their sum is 1."""

    train: float = key(shapes=Shapes.tasks, above=0, help="share of meta-train")
    valid: float = key(shapes=Shapes.tasks, above=0, help="share of meta-validation")
    test: float = key(shapes=Shapes.tasks, above=0, help="share of meta-test")


@dataclass
class Augment:
    """What changes the images of meta-training, each by its own draw."""

    flip: bool = key(False, help="left and right, half of them")
    crop: int = key(0, least=0, help="pixels reflected around an image before it is cut out anew")
    colour: float = key(
        0.0, least=0, most=1, help="share by which brightness, contrast and saturation change"
    )
    warp: float = key(
        0.0,
        least=0,
        most=1,
        help="share of its size by which an image is turned, stretched, sheared and moved",
    )


@dataclass
class DataConfig(Group):
    name: str = key(role=Role.choice, shapes=Shapes.tasks, help="the choice")
    kind: str = key(role=Role.choice, shapes=Shapes.tasks, help="its file in data/")
    counted: ClassVar[bool] = False  # `classes` and `samples` show when the data is loaded
    images: ClassVar[bool] = True  # its examples are images
    image_size: int | None = key(
        None, shapes=Shapes.tasks, above=0, help="pixels a side; null: the inputs are no images"
    )
    classes: SplitSizes | None = None
    samples: int | None = key(None, shapes=Shapes.tasks, above=0, help="images of each class")
    root: str | None = key(
        None, role=Role.place, shapes=Shapes.tasks, help="the folder of the data"
    )
    fingerprint: str | None = key(
        None,
        role=Role.fact,
        shapes=Shapes.tasks,
        help="digest of what a run found in `root`; a run writes it when it begins",
    )
    split: str = key(
        "random", shapes=Shapes.tasks, words=Split, help="how classes go to the splits"
    )
    least: int | None = key(
        None,
        role=Role.fact,
        shapes=Shapes.tasks,
        help="classes that each split needs: the run's ways; a run writes it when it begins",
    )
    left_out: list[str] = key(
        [],
        role=Role.fact,
        shapes=Shapes.tasks,
        help="classes that `evaluate` does not test with split=test, as the run has met them",
    )
    kept_in: str | None = key(
        None, role=Role.fact, help="the data.json of the run by which `evaluate` reads a table"
    )
    split_seed: int = key(0, shapes=Shapes.tasks, least=0, help="of the lot that splits classes")
    rotations: Rotations = key(
        Rotations.none, shapes=Shapes.tasks, help="splits with every class turned, as new classes"
    )
    colour: Colour = key(Colour.rgb, shapes=Shapes.tasks, help="how images are read")
    invert: bool = key(False, shapes=Shapes.tasks, help="ink is 1 on 0")
    min_images: int | None = key(
        None, shapes=Shapes.tasks, above=0, help="of a class, or it is left out"
    )
    skip_broken: bool = key(
        False, shapes=Shapes.tasks, help="leave out the files that cannot be decoded"
    )
    fractions: Fractions | None = None
    split_file: str | None = key(
        None, shapes=Shapes.tasks, help="a CSV with the columns class,split instead of a lot"
    )
    augment: Augment = field(default_factory=Augment)

    @property
    def regression(self) -> bool:
        """Whether targets are numbers, not classes."""
        return False

    @property
    def shared(self) -> bool:
        """Whether labels mean the same in all tasks."""
        return False

    @property
    def grouped(self) -> bool:
        """Whether its tasks are there by name, as groups of rows, and not made of classes."""
        return self.regression or self.shared

    @property
    def measure(self) -> Measure:
        return LOSS if self.regression else ACCURACY


@dataclass
class ModelConfig(Group):
    name: str = key(role=Role.choice, help="the choice")
    kind: str = key(role=Role.choice, help="its file in models/")
    images_only: ClassVar[bool] = False  # takes images alone
    sized: ClassVar[bool] = False  # has images decoded in a size of its own
    hidden: list[int] = key([], above=0, help="widths of the hidden layers")
    channels: int = key(64, above=0, help="of a convolution, or of the first block")
    feature_norm: float | None = key(
        None, above=0, help="the length to which the head's input is scaled; null: as it is"
    )
    statistics: Statistics = key(Statistics.batch, help="by which batch norm works")
    pretrained: str | None = key(
        None,
        role=Role.fact,
        help="digest of the weights that do not learn; a run writes it when it begins",
    )

    @property
    def smallest_image(self) -> int:
        """Pixels a side of the smallest image that it takes."""
        return 2


@dataclass
class AlgoConfig(Group):
    """The keys that several algorithms share, so that one sweep can set a key across them.

    An algorithm's YAML lists those that it reads. Keys of its own stand in its own file, in a
    dataclass that derives from this one.
    """

    name: str = key(role=Role.choice, help="the choice")
    kind: str = key(role=Role.choice, help="its file in algorithms/")
    first_order: bool = key(
        False, role=Role.choice, help="the Jacobian of the inner loop is taken as the identity"
    )
    compilable: ClassVar[bool] = False  # its file makes use of `compile`
    recomputable: ClassVar[bool] = False  # its file makes use of `recompute`
    meta_trains: ClassVar[bool] = True  # has a meta-training, with a meta-validation
    pretrains: ClassVar[bool] = False  # trains one network on all meta-train classes
    classifies: ClassVar[bool] = False  # cannot do regression
    by_way: ClassVar[bool] = False  # has an output for each class of a task
    moves_body: ClassVar[bool] = False  # is of no use where only the head learns
    together: ClassVar[bool] = False  # judges the queries of a task together, and not otherwise
    inner_lr: float = key(0.01, shapes=Shapes.test, above=0, help="inner learning rate")
    inner_steps: int | None = key(None, above=0, help="steps in training; null: no inner loop")
    inner_optimizer: Optimizer = key(Optimizer.sgd, help="Adam has beta1 0")
    inner_batch: int | None = key(
        None, above=0, help="examples an inner step; null: the whole support set"
    )
    carry_state: bool = key(False, help="the inner optimiser's state goes on from task to task")
    train_shots: int | None = key(
        None, above=0, help="examples of a class in training; null: as `shots`"
    )
    layers: Layers = key(Layers.all, shapes=Shapes.test, help="what fine-tuning moves")
    head: Head = key(Head.own, help="how the head of a task begins")
    backbone_inner_lr: float | None = key(
        None, shapes=Shapes.test, above=0, help="of all but the head; null: as `inner_lr`"
    )
    penalty: float = key(
        1.0, shapes=Shapes.test, above=0, help="how hard a fitted head's weights are pulled to 0"
    )
    multi_step: int = key(
        0, least=0, help="iterations until only the last inner step's query loss counts"
    )
    learn_rates: bool = key(False, help="an inner rate of its own for each layer and step")
    first_order_iterations: int = key(0, least=0, help="that come before those of second order")
    eval_steps: int = key(0, shapes=Shapes.test, least=0, help="adaptation steps in the test")
    eval_inner_batch: int | None = key(
        None, shapes=Shapes.test, above=0, help="examples an inner step in the test; null: all"
    )
    meta_optimizer: Optimizer = key(Optimizer.adam, help="moves the meta-parameters")
    meta_lr: float = key(0.001, above=0, help="meta learning rate")
    backbone_lr: float | None = key(
        None, above=0, help="meta learning rate of all but the head; null: as `meta_lr`"
    )
    meta_schedule: Schedule = key(Schedule.constant, help="of the meta learning rate")
    meta_clip: float | None = key(
        None, above=0, help="clips each entry of the meta-gradient to +- this"
    )


@dataclass
class EvalConfig:
    tasks: int = key(shapes=Shapes.tasks, above=0, help="tasks of the meta-test")
    valid_tasks: int = key(shapes=Shapes.test, above=0, help="tasks of a meta-validation")
    every: int = key(shapes=Shapes.test, above=0, help="iterations between two meta-validations")
    queries: int = key(shapes=Shapes.tasks, above=0, help="query examples of a class in the test")
    seed: int = key(
        shapes=Shapes.tasks, least=0, help="draws the tasks of the test, alike for all runs"
    )
    checkpoint: Checkpoint = key(
        Checkpoint.best, shapes=Shapes.test, bits=False, help="which one is tested"
    )
    transductive: bool = key(
        True,
        shapes=Shapes.test,
        help="all queries of a task in one batch; false: each alone with the support set",
    )
    score_steps: Any = key(  # a list of numbers, or a word
        None,
        role=Role.habit,
        shapes=Shapes.test,
        help="adaptation steps after which the meta-test scores, such as `[1,5]`, or `all`; "
        "null: 0 and 1; the last always",
    )


@dataclass
class TrackerConfig(Group):
    """The keys of all trackers that a run has; `tracker=[A,B]` gives it several."""

    name: str = key(role=Role.place, help="the choice, or several with commas between")
    kind: str = key(role=Role.place, help="its file in trackers/, or theirs")
    uri: str | None = key(None, role=Role.place, help="of its store")
    timeout: float = key(
        60.0, role=Role.habit, above=0, help="seconds that the end of a run waits for it"
    )

    @property
    def kinds(self) -> list[str]:
        """The files in trackers/ of all that there are."""
        return self.kind.split(",")


@dataclass
class CheckpointConfig:
    """How often to save, besides at each meta-validation."""

    every: int | None = key(None, role=Role.habit, above=0, help="iterations; null: by time alone")
    minutes: float = key(10.0, role=Role.habit, above=0, help="at most, between two checkpoints")


@dataclass
class LimitsConfig:
    """What ends meta-training before its last iteration; the meta-test comes all the same."""

    seconds: float | None = key(
        None,
        role=Role.length,
        above=0,
        help="of the whole run, as `elapsed_s` counts, until meta-training ends; null: no limit",
    )
    patience: int | None = key(
        None,
        role=Role.length,
        above=0,
        help="meta-validations in a row of which none is the best so far; null: no limit",
    )
    target: float | None = key(
        None,
        role=Role.length,
        above=0,
        help="accuracy of a meta-validation (regression: squared error) to reach; null: none",
    )


@dataclass
class Published:
    """What a paper gives for an experiment."""

    source: str = key(role=Role.label, help="the paper")
    iterations: int = key(role=Role.label, help="of its training")
    figures: dict[int, float] = key(
        role=Role.label, help="accuracy (loss for regression) by adaptation steps"
    )
    ci95: float | None = key(None, role=Role.label, help="half-width of their interval")


@dataclass
class Config:
    """A whole run; conf/config.yaml holds what a run has when nothing is said."""

    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    algo: AlgoConfig = MISSING
    tracker: TrackerConfig = MISSING
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    seed: int = key(role=Role.seed, least=0, help="of all draws but those of the test's tasks")
    ways: int = key(shapes=Shapes.tasks, above=0, help="classes of a task")
    shots: int = key(shapes=Shapes.tasks, above=0, help="support examples of a class")
    queries: int = key(above=0, help="query examples of a class, in training")
    meta_batch: int = key(above=0, help="tasks a meta-update")
    iterations: int = key(role=Role.length, least=0, help="meta-updates")
    log_every: int = key(role=Role.habit, above=0, help="iterations a row of metrics.csv")
    record_paths: bool = key(
        False, role=Role.habit, help="keep the weights at each meta-validation, for `plot paths`"
    )
    batching: Batching = key(
        Batching.auto, role=Role.means, shapes=Shapes.test, help="how many tasks adapt at once"
    )
    chunk: int | None = key(
        None,
        role=Role.means,
        shapes=Shapes.test,
        above=0,
        help="tasks at once with batching=stacked; null: all",
    )
    compile: bool | str = key(
        False,
        role=Role.means,
        words=Compile,
        help="what training repeats, by torch.compile; auto: where a rule says that it pays",
    )
    recompute: bool = key(
        False, role=Role.means, help="inner steps again on the backward pass, to save memory"
    )
    precision: Precision = key(Precision.float32, shapes=Shapes.test, help="bf16 is mixed")
    init: str | None = key(
        None, help="a run, or a checkpoint of one, from whose weights this run starts"
    )
    published: Published | None = None  # to compare with; an experiment brings it
    tags: list[str] = key([], role=Role.label, help="words to find the run by; `--tag`")
    notes: str | None = key(None, role=Role.label, help="what the run is about; `--notes`")
    group: str | None = key(
        None, role=Role.label, help="of runs that belong together; of a sweep its name; `--group`"
    )
    device: str = key(
        role=Role.place, shapes=Shapes.test, help="auto, cpu, cuda or cuda:N; auto: cuda if there"
    )
    threads: int | None = key(
        None, role=Role.means, above=0, help="of this process; null: one a core"
    )
    ranks: str | None = key(
        None,
        role=Role.means,
        bits=False,
        help="processes of this run: a number of them here, or slurm: those of srun; null: one",
    )
    rank_timeout: float = key(
        60.0,
        role=Role.means,
        bits=False,
        above=0,
        help="seconds after which a rank that does not answer ends the run",
    )
    requeue: bool = key(
        False,
        role=Role.habit,
        help="at SIGUSR1 or SIGUSR2, SLURM's warning before its limit, queue the job again",
    )
    cache_dir: str = key(role=Role.place, shapes=Shapes.test, help="of rendered and decoded images")


def keys(schema: Any = Config, prefix: str = "") -> dict[str, Key]:
    """Every key of a schema, by its dotted name."""
    found: dict[str, Key] = {}
    hints = get_type_hints(schema)
    for each in fields(schema):
        options = [hints[each.name], *get_args(hints[each.name])]
        inner = next((option for option in options if is_dataclass(option)), None)
        if inner:
            found |= keys(inner, f"{prefix}{each.name}.")
        else:
            found[prefix + each.name] = each.metadata["key"]
    return found


def values(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Key]]:
    """The dotted name, the value and the key of everything that a config holds."""
    for each in fields(config):
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from values(value, f"{prefix}{each.name}.")
        elif "key" in each.metadata:
            yield f"{prefix}{each.name}", value, each.metadata["key"]


def recorded(config: Config) -> dict[str, Any]:
    """What config.yaml holds of a run, nested: the keys that are read."""
    whole: dict[str, Any] = asdict(config)
    for name in whole:
        group = getattr(config, name)
        if isinstance(group, Group):
            whole[name] = {key: whole[name][key] for key in whole[name] if key in group.reads}
    return whole


def lookup(config: Any, key: str) -> Any:
    """The value at a dotted key; None where a part of the path is None."""
    for part in key.split("."):
        config = None if config is None else getattr(config, part)
    return config
