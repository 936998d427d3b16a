from __future__ import annotations

import pytest
import torch
from helpers import BACKBONES, IMAGE_MODELS, config, names

from fewshot_cli import models
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig
from fewshot_cli.stacked import learn2learn


def model_config(name: str, *overrides: str) -> ModelConfig:
    data = [] if name in (*IMAGE_MODELS, *BACKBONES) else ["data=sinusoid"]
    if name == "timm":
        data = ["model.backbone=test_efficientnet", "model.weights=none"]
    return config(f"model={name}", *data, *overrides).model


def shape_of(name: str) -> tuple[int, ...]:
    """Of an example that the model takes."""
    return (2, 20) if name == "cnn1d" else (1, 28, 28)


@pytest.mark.parametrize("name", names("model"))
@pytest.mark.parametrize("ways", [1, 5, 20])
def test_every_model_gives_a_value_for_each_way(name: str, ways: int) -> None:
    shape = shape_of(name)
    net = models.build(model_config(name), shape, ways)
    assert net(torch.rand(4, *shape)).shape == (4, ways)


@pytest.mark.parametrize("name", names("model"))
def test_nothing_is_remembered_between_batches(name: str) -> None:
    shape = shape_of(name)
    net = models.build(model_config(name), shape, 5)
    before = [buffer.clone() for buffer in net.buffers()]
    x = torch.rand(6, *shape)
    first = net(x)
    net(torch.rand(6, *shape) * 9)
    assert torch.equal(net(x), first)
    assert torch.equal(net.eval()(x), first)
    assert all(map(torch.equal, net.buffers(), before))
    if name in IMAGE_MODELS:
        assert before == []


@pytest.mark.parametrize(
    ("name", "shape", "ways", "weights"),
    [
        # conv 3x3 with bias, batch norm: (9 in + 3) out a block; then the linear head.
        ("cnn4", (1, 28, 28), 5, 12 * 64 + 3 * (9 * 64 + 3) * 64 + 65 * 5),
        # mini-ImageNet: 84 pixels halved four times are 5, so 800 features (Finn et al. 2017).
        ("cnn4_pool", (3, 84, 84), 5, 30 * 32 + 3 * (9 * 32 + 3) * 32 + 801 * 5),
        # Three 3x3 convolutions and a 1x1 one, without bias, and four batch norms a block.
        (
            "resnet12",
            (3, 84, 84),
            5,
            sum(
                9 * (before + 2 * width) * width + before * width + 8 * width
                for before, width in ((3, 64), (64, 160), (160, 320), (320, 640))
            )
            + 641 * 5,
        ),
        ("mlp", (1,), 1, 2 * 40 + 41 * 40 + 41),
        (
            "fc",
            (1, 28, 28),
            5,
            785 * 256 + 257 * 128 + 129 * 64 + 65 * 64 + 2 * (256 + 128 + 64 + 64) + 65 * 5,
        ),
    ],
)
def test_the_published_nets_have_their_numbers_of_weights(
    name: str, shape: tuple[int, ...], ways: int, weights: int
) -> None:
    net = models.build(model_config(name), shape, ways)
    assert sum(weight.numel() for weight in net.parameters()) == weights


def test_resnet12_computes_what_learn2learn_s_does() -> None:
    """Theirs is Lee et al.'s own code; here with its dropout at 0, in the same order of weights."""
    _, resnet12 = learn2learn.parts("learn2learn.nn", "learn2learn.vision.models.resnet12")
    theirs = resnet12.ResNet12(output_size=5, dropblock_dropout=0.0).double()
    ours = models.build(model_config("resnet12"), (3, 84, 84), 5).double()
    with torch.no_grad():
        for mine, weight in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(weight)
        images = torch.rand(2, 3, 84, 84, dtype=torch.float64)
        assert torch.allclose(ours(images), theirs(images), rtol=1e-9, atol=1e-12)


def test_a_network_without_hidden_layers_is_linear() -> None:
    net = models.build(config("data=sinusoid", "model=mlp", "model.hidden=[]").model, (3,), 2)
    assert [weight.shape for weight in net.parameters()] == [(2, 3), (2,)]


@pytest.mark.parametrize(("features", "width"), [("mean", 8), ("flatten", 8 * 2)])
def test_a_series_is_halved_by_each_block(features: str, width: int) -> None:
    words = ["model=cnn1d", "model.channels=8", "model.blocks=3", f"model.features={features}"]
    net = models.build(config("data=sinusoid", *words).model, (3, 21), 2)
    assert net[-1].in_features == width


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 28, 28), r"takes series \[channels, length\], and an example has shape \[1, 28, 28\]"),
        ((2, 15), r"model.blocks=4: each halves the series, which has length 15; expected 3 or fe"),
        ((2, 1), r"which has length 1; choose model=mlp"),
    ],
)
def test_what_is_no_long_series_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build(config("data=sinusoid", "model=cnn1d").model, shape, 2)


def test_reptile_s_net_flattens_the_last_map_of_two_by_two() -> None:
    net = models.build(model_config("cnn4", "model.features=flatten"), (1, 28, 28), 5)
    assert net[-1].in_features == 2 * 2 * 64


def test_the_net_under_its_old_name_is_the_same_net() -> None:
    torch.manual_seed(0)
    now = models.build(model_config("fc"), (1, 28, 28), 5)
    torch.manual_seed(0)
    then = models.build(ModelConfig("fc", "fc", [256, 128, 64, 64]), (1, 28, 28), 5)
    x = torch.rand(7, 1, 28, 28)
    assert torch.equal(now(x), then(x))
