"""Supernet: the trained modular network, ``forward(image, gates)``.

Legend: B images, C channels, F features, K classes, L blocks.
"""

from typing import cast

import torch
from torch import Tensor, nn

from supernet.card import Architecture
from supernet.gates import Gates
from supernet.layers import ModularBlock, NormConv, Statistics
from supernet.shapes import neck_shape, stem_shapes
from supernet.shrink import shrink_matrix


class Supernet(nn.Module):
    """Stem, L modular blocks, neck, mean over all pixels, linear head with a row for each class.

    It keeps no running statistics: a sub-network is always calibrated on images, see ``calibrate``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        self.architecture = architecture
        image, epsilon = architecture.input, architecture.norm_epsilon
        self.register_buffer("mean", torch.tensor(image.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(image.std).reshape(1, -1, 1, 1), persistent=False)
        first, *more = stem_shapes(architecture)
        self.stem = NormConv(first, epsilon)
        self.stem_more = nn.ModuleList(NormConv(shape, epsilon) for shape in more)
        self.blocks = nn.ModuleList(ModularBlock(architecture, block) for block in architecture.blocks)
        self.neck = NormConv(neck_shape(architecture), epsilon)
        self.head = nn.Linear(architecture.neck_channels, classes)

    @property
    def stems(self) -> list[NormConv]:
        """The convolutions before the blocks."""
        return [self.stem, *cast(list[NormConv], list(self.stem_more))]

    @property
    def modular_blocks(self) -> list[ModularBlock]:
        """The blocks, typed."""
        return cast(list[ModularBlock], list(self.blocks))

    @property
    def norms(self) -> list[tuple[Tensor, Tensor]]:
        """Scale and shift of every BatchNorm of the dense net, in the order of the forward pass."""
        found: list[tuple[Tensor, Tensor]] = [(layer.scale, layer.shift) for layer in self.stems]
        for block in self.modular_blocks:
            found += block.norms
        return [*found, (self.neck.scale, self.neck.shift)]

    def features(
        self,
        image: Tensor,
        gates: Gates,
        statistics: Statistics | None = None,
        strengths: list[Tensor] | None = None,
    ) -> Tensor:
        """Return what the head sees, B x F.

        Args:
            image: B x C x height x width, float32, 0..255.
            gates: modules that are on.
            statistics: of the normalised layers; None takes those of the batch (training).
            strengths: L factors for the active modules, see ``ModularBlock.forward``.
        """
        if statistics is not None:
            statistics.start()
        found = self.through_blocks(
            self.through_stem(image, gates.side, statistics), gates, statistics, strengths
        )
        if statistics is not None:
            statistics.finish()
        return found

    def through_stem(self, image: Tensor, side: int | None, statistics: Statistics | None = None) -> Tensor:
        """Return what the first block sees of images, shrunk to a side; arguments as in ``features``."""
        x: Tensor = (image - self.mean) / self.std
        if side is not None:
            shrink = torch.from_numpy(shrink_matrix(x.shape[-1], side).copy()).to(x.device)
            x = (shrink @ x @ shrink.T).contiguous(memory_format=torch.channels_last)
        for stem in self.stems:
            x = stem(x, statistics)
        return x

    def through_blocks(
        self,
        x: Tensor,
        gates: Gates,
        statistics: Statistics | None = None,
        strengths: list[Tensor] | None = None,
        *,
        first: int = 0,
    ) -> Tensor:
        """Return what the head sees, B x F, from what block ``first`` sees; arguments as in ``features``."""
        for index in range(first, len(self.blocks)):
            strength = None if strengths is None else strengths[index]
            x = self.modular_blocks[index](x, gates.active[index], statistics, strength)
        return cast(Tensor, self.neck(x, statistics)).mean(dim=(2, 3))

    def forward(
        self,
        image: Tensor,
        gates: Gates,
        statistics: Statistics | None = None,
        strengths: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the logits of all classes, B x K; arguments as in ``features``."""
        logits: Tensor = self.head(self.features(image, gates, statistics, strengths))
        return logits


@torch.no_grad()
def calibrate(supernet: Supernet, gates: Gates, image: Tensor) -> Statistics:
    """Return the statistics of a sub-network on a batch of images, B x C x height x width, 0..255.

    Source: slimmable networks' post-training BatchNorm statistics (Yu and Huang, arXiv 1903.05134).
    """
    statistics = Statistics()
    supernet.features(image, gates, statistics)
    return statistics
