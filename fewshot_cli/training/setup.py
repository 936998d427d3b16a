"""From a config to the parts of a run: device, task source, network and algorithm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from fewshot_cli import algorithms, data, models
from fewshot_cli.algorithms.base import Algorithm
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import TaskBatch, TaskShape, TaskSource
from fewshot_cli.models import Network, digest
from fewshot_cli.models.features import Frozen, FrozenTasks
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.checks import check_counted, check_split
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Batching, Config, Head, Precision
from fewshot_cli.stacked.acceleration import EVERY_TASK, Acceleration
from fewshot_cli.stacked.ranks import ALONE, Ranks
from fewshot_cli.stacked.stacking import chunk_size
from fewshot_cli.training import checkpoints, compiling
from fewshot_cli.training.allocation import keep_freed_memory
from fewshot_cli.training.seeding import initialised, make_deterministic

THREADS = torch.get_num_threads()  # one a core, or what OMP_NUM_THREADS says


@dataclass
class Setup:
    config: Config
    source: TaskSource  # of what the algorithm's network sees: images, or features of them
    algorithm: Algorithm
    eval_chunk: int  # tasks that adapt at once in meta-validation and meta-test
    device: torch.device

    @property
    def train_shape(self) -> TaskShape:
        """Of the tasks of meta-training."""
        config = self.config
        return TaskShape(config.ways, config.algo.train_shots or config.shots, config.queries)

    @property
    def test_shape(self) -> TaskShape:
        """Of the tasks of meta-validation and meta-test."""
        return TaskShape(self.config.ways, self.config.shots, self.config.eval.queries)

    def in_images(self) -> Setup:
        """The same tasks as images, where the algorithm's network sees features of them."""
        source = self.source
        return replace(self, source=source.source) if isinstance(source, FrozenTasks) else self

    def train_tasks(self, generator: torch.Generator) -> TaskBatch:
        """The next meta-batch."""
        return self.source.sample("train", self.config.meta_batch, self.train_shape, generator)


def prepare(
    config: Config, splits: Collection[str] = (), begins: bool = False, ranks: Ranks = ALONE
) -> Setup:
    """Build everything that a run needs.

    Args:
        splits: those that are sampled; none: those of a run.
        begins: with the weights of `init`, where that is told; else a checkpoint is to come.
        ranks: the processes that share the work.

    Raises:
        UserError: the device, a compiler or first weights are not there, or the data cannot be
            read.
    """
    make_deterministic()
    torch.set_num_threads(config.threads or max(1, THREADS // ranks.share_cores))
    keep_freed_memory()
    device, source = device_and_data(config, splits, begins, ranks.local)
    outputs = outputs_of(config, config.ways, source.train_classes)
    whole = network(config, source.input_shape, outputs, begins).to(device)
    still, net = whole.split()
    if still is not None and isinstance(source, ImageTasks):
        source = FrozenTasks(source, frozen(config, still))

    def chunk(*batches: int) -> int:
        if config.batching is Batching.sequential:
            return 1
        if config.batching is Batching.stacked:
            return config.chunk or EVERY_TASK
        return chunk_size(net, source.input_shape, list(batches), device)

    support, queries = config.ways * config.shots, config.ways * config.eval.queries
    adapted_on = config.algo.eval_inner_batch or support
    trained_on = config.algo.inner_batch or config.ways * (config.algo.train_shots or config.shots)
    acceleration = Acceleration(
        chunk(trained_on, config.ways * config.queries),
        compiling.compiles(config, net, device),
        config.recompute,
        config.precision is Precision.bf16,
        ranks,
    )
    return Setup(
        config,
        source,
        algorithms.build(net, config.algo, config.iterations, acceleration),
        chunk(adapted_on, queries if config.eval.transductive else support + 1),
        device,
    )


def network(
    config: Config, input_shape: tuple[int, ...], outputs: int, begins: bool = False
) -> Network:
    """The network with its first weights; the frozen ones are those for good.

    No checkpoint holds frozen weights, so those of `init` are needed again, and their digest in the
    config tells whether they are the same.

    Raises:
        UserError: weights cannot be had, or the frozen ones are others than when the run began.
    """
    whole = initialised(config.model, input_shape, outputs, config.seed)
    freezes = whole.split()[0] is not None
    if config.init is not None and (begins or freezes):
        whole.begin_with(config.init, init_weights(config.init))
    still, _ = whole.split()
    if still is not None:
        _remember(config, digest(still))
    return whole


def init_weights(init: str) -> dict[str, Tensor]:
    """The weights of a run's best checkpoint, of its last, or of a checkpoint that is named.

    Raises:
        UserError: there is none.
    """
    path = Path(init)
    if path.is_dir():
        run = RunDirectory(path)
        path = run.best if run.best.exists() else run.last
    if not path.is_file():
        raise UserError(f"init={init}: expected a run directory with a checkpoint, or a checkpoint")
    weights: dict[str, Tensor] = checkpoints.read(path)["net"]
    return weights


def outputs_of(config: Config, ways: int, train_classes: int) -> int:
    """How many outputs a network has where tasks have so many ways."""
    if config.data.grouped:
        return train_classes
    if config.algo.head is Head.shared:
        return 1
    # Where nothing is left to train on, a head is for the ways.
    return train_classes or ways if config.algo.pretrains else ways


def _remember(config: Config, found: str) -> None:
    """Keep the digest of frozen weights, which no checkpoint holds.

    Raises:
        UserError: they are others than when the run began.
    """
    model = config.model
    if model.pretrained not in (None, found):
        raise UserError(
            f"model={model.name}: the frozen weights are others than when the run began; expected "
            "the same model.weights"
        )
    model.pretrained = found
    model.reads |= {"pretrained"}


def frozen(config: Config, still: Network) -> Frozen:
    """The part of a network that does not learn, with its cache."""
    model = config.model
    key: dict[str, object] = {"kind": model.kind, "backbone": getattr(model, "backbone", None)}
    if model.kind == "timm":
        key["timm"] = version("timm")
    return Frozen(still, key, config.cache_dir, config.precision is Precision.bf16)


def device_and_data(
    config: Config, splits: Collection[str] = (), begins: bool = True, local: int = 0
) -> tuple[torch.device, TaskSource]:
    """What a run needs of this machine and its files; once loaded, the data stays in memory.

    Leaves the fingerprint of what `data.root` holds in the config, and what its splits fit.

    Args:
        splits: those that are sampled; none: those of a run.
        local: the number of this process among those of its run on this host.

    Raises:
        UserError: the device or a compiler is not there, or the data cannot be read, or suits no
            such network.
    """
    if config.compile is True and not compiling.has_compiler():
        raise UserError("compile=true: found no C++ compiler; expected g++ or clang++")
    device = device_named(config.device, local)
    if begins and config.init is not None:
        init_weights(config.init)
    if config.data.fractions is not None:  # an evaluation with other ways keeps its run's splits
        config.data.least = config.data.least or config.ways
        config.data.reads |= {"least"}
    splits = splits or (("train", "valid", "test") if config.algo.meta_trains else ("test",))
    check_split(config, splits)
    size = models.image_size(config.model) or config.data.image_size
    source = data.load(replace(config.data, image_size=size), config.cache_dir, device)
    if isinstance(source, ImageTasks | ArrayTasks) and config.data.counted:
        check_counted(config, source.sizes, splits)
    if size is None:  # a network of rows or series says which shapes it takes
        with torch.device("meta"):
            models.build(config.model, source.input_shape, outputs=1)
    if config.data.root is not None or config.data.kind == "python":
        config.data.fingerprint = getattr(source, "fingerprint", None)
        config.data.reads |= {"fingerprint"}
    return device, source


def device_named(name: str, local: int = 0) -> torch.device:
    """The device of a config; of several processes on a host each has a GPU of its own.

    Raises:
        UserError: this machine has no such device.
    """
    cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if cuda else "cpu"
    if name == "cuda" and local:
        name = f"cuda:{local}"
    device = torch.device(name)
    if device.type == "cuda" and (not cuda or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(
            f"device={name}: this machine has {torch.cuda.device_count() if cuda else 0} "
            "CUDA devices; expected cpu, auto or one that is there"
        )
    return device
