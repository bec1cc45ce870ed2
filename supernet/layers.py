"""Layers whose modules are switched on by index; what is off is never computed.

Legend: B images, C channels in, D channels out, H hidden channels, k kernel side.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.card import Activation, Architecture, Block, BlockKind
from supernet.shapes import ConvShape, module_shapes, shortcut_shape


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of one normalised layer, one number a channel."""

    mean: Tensor
    variance: Tensor


class Statistics:
    """The Moments of every normalised layer of one sub-network, in the order of the forward pass.

    Empty, it is filled by the next forward pass from that batch; filled, it is used as it is.
    """

    def __init__(self, moments: list[Moments] | None = None) -> None:
        self.moments: list[Moments] = moments or []
        self.filled = bool(moments)
        self._next = 0

    def start(self) -> None:
        """Begin a forward pass."""
        self._next = 0

    def finish(self) -> None:
        """End a forward pass; from now on the Moments stand."""
        self.filled = True

    def normalise(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        """BatchNorm of x (B x C x height x width) by the Moments of the next layer, measured on x unless they stand."""
        if self.filled:
            moments = self.moments[self._next]
            self._next += 1
            return F.batch_norm(x, moments.mean, moments.variance, weight, bias, training=False, eps=epsilon)
        mean, variance = torch.zeros_like(weight), torch.zeros_like(weight)
        y = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0, eps=epsilon)
        numbers = x.numel() // x.shape[1]
        # What is kept is the variance of a sample of a larger whole; what is normalised with is the batch's own.
        self.moments.append(Moments(mean, variance * ((numbers - 1) / numbers)))
        return y


def normalise(
    x: Tensor, weight: Tensor, bias: Tensor, statistics: Statistics | None, epsilon: float
) -> Tensor:
    """BatchNorm of x (B x C x height x width): by its own batch, or by the given statistics."""
    if statistics is None:
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=epsilon)
    return statistics.normalise(x, weight, bias, epsilon)


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution as it is computed: its weight, its shape, scale and shift of the BatchNorm behind it, if any."""

    weight: Tensor
    shape: ConvShape
    norm: tuple[Tensor, Tensor] | None

    def __call__(self, x: Tensor, statistics: Statistics | None, epsilon: float) -> Tensor:
        """B x C x height x width -> B x D x height / stride x width / stride."""
        before, after = self.shape.padding
        if before != after:
            x = F.pad(x, (before, after, before, after))
        padding = before if before == after else 0
        y = F.conv2d(x, self.weight, None, self.shape.stride, padding, groups=self.shape.groups)
        if self.norm is not None:
            y = normalise(y, *self.norm, statistics, epsilon)
        if self.shape.activation is None:
            return y
        return F.relu6(y) if self.shape.activation is Activation.RELU6 else F.relu(y)


class NormConv(nn.Module):
    """Convolution without bias, then BatchNorm, perhaps an activation; always on. Weight D x C x k x k."""

    def __init__(self, shape: ConvShape, epsilon: float) -> None:
        super().__init__()
        self.shape = shape
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.empty(shape.weight_shape))
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        self.scale = nn.Parameter(torch.ones(shape.out_channels))
        self.shift = nn.Parameter(torch.zeros(shape.out_channels))

    @property
    def layer(self) -> Layer:
        """The same as a Layer."""
        return Layer(self.weight, self.shape, (self.scale, self.shift))

    def forward(self, x: Tensor, statistics: Statistics | None) -> Tensor:
        """B x C x height x width -> B x D x height / stride x width / stride."""
        return self.layer(x, statistics, self.epsilon)


class ModularBlock(nn.Module):
    """Trunk + sum of the active modules, see ``supernet.card.Block``.

    Weights of all hidden channels lie one after the other, those that are always on first: ``expand`` H x C x k x k,
    ``scale`` and ``shift`` H; ``project`` D x H x 1 x 1. Of inverted blocks, k is 1, and ``depth`` H x 1 x k x k,
    ``depth_scale`` and ``depth_shift`` H, ``project_scale`` and ``project_shift`` D are there as well.
    A fresh block is its trunk, where it has one.
    """

    def __init__(self, architecture: Architecture, block: Block) -> None:
        super().__init__()
        self.architecture, self.block = architecture, block
        self.epsilon = architecture.norm_epsilon
        hidden = block.hidden_channels(block.modules)
        expand, *_, project = module_shapes(architecture, block, hidden)
        self.expand = nn.Parameter(torch.empty(expand.weight_shape))
        nn.init.kaiming_normal_(self.expand, mode="fan_in", nonlinearity="relu")
        self.scale = nn.Parameter(torch.ones(hidden))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.project = nn.Parameter(torch.zeros(project.weight_shape))
        shortcut = shortcut_shape(block)
        self.shortcut = None if shortcut is None else NormConv(shortcut, self.epsilon)
        self.inverted = block.kind is BlockKind.INVERTED
        if self.inverted:
            self.depth = nn.Parameter(torch.empty(hidden, 1, block.kernel, block.kernel))
            nn.init.kaiming_normal_(self.depth, mode="fan_in", nonlinearity="relu")
            self.depth_scale = nn.Parameter(torch.ones(hidden))
            self.depth_shift = nn.Parameter(torch.zeros(hidden))
            nn.init.kaiming_normal_(self.project, mode="fan_in", nonlinearity="linear")
            first = torch.zeros if block.identity else torch.ones
            self.project_scale = nn.Parameter(first(block.out_channels))
            self.project_shift = nn.Parameter(torch.zeros(block.out_channels))

    @property
    def trunk(self) -> bool:
        """Whether something is added to the modules' sum: its input, or the shortcut of it."""
        return self.block.identity or self.shortcut is not None

    @property
    def norms(self) -> list[tuple[Tensor, Tensor]]:
        """Scale and shift of every BatchNorm of the whole block, in the order of the forward pass."""
        found: list[tuple[Tensor, Tensor]] = []
        if self.shortcut is not None:
            found.append((self.shortcut.scale, self.shortcut.shift))
        found.append((self.scale, self.shift))
        if self.inverted:
            found += [(self.depth_scale, self.depth_shift), (self.project_scale, self.project_shift)]
        return found

    def rows(self, active: tuple[int, ...]) -> Tensor:
        """Return the indices of the hidden channels that are on with these modules, ascending, int64."""
        always, width = self.block.always_channels, self.block.module_channels
        starts = always + torch.tensor(active, dtype=torch.int64, device=self.expand.device) * width
        steps = torch.arange(width, device=self.expand.device)
        modules = (starts[:, None] + steps[None, :]).reshape(-1)
        return torch.cat([torch.arange(always, device=self.expand.device), modules])

    def layers(self, active: tuple[int, ...]) -> list[Layer]:
        """Return the convolutions of the active modules, one after the other; none if nothing is on."""
        hidden = self.block.hidden_channels(len(active))
        shapes = module_shapes(self.architecture, self.block, hidden)
        if not shapes:
            return []
        rows: Tensor | slice = slice(None) if len(active) == self.block.modules else self.rows(active)
        expand, *depthwise, project = shapes
        found = [Layer(self.expand[rows], expand, (self.scale[rows], self.shift[rows]))]
        for shape in depthwise:
            norm = (self.depth_scale[rows], self.depth_shift[rows])
            found.append(Layer(self.depth[rows], shape, norm))
        last = (self.project_scale, self.project_shift) if self.inverted else None
        return [*found, Layer(self.project[:, rows], project, last)]

    def forward(
        self,
        x: Tensor,
        active: tuple[int, ...],
        statistics: Statistics | None,
        strength: Tensor | None = None,
    ) -> Tensor:
        """B x C x height x width -> B x D x height / stride x width / stride.

        Args:
            x: the trunk.
            active: modules that are on, ascending.
            statistics: of the normalised layers, or None for those of the batch.
            strength: factor of every active module, len(active) numbers; None means 1.
        """
        trunk = x if self.shortcut is None else self.shortcut(x, statistics)
        if not self.block.hidden_channels(len(active)):
            return trunk
        if x.is_cuda and statistics is None and len(active) < self.block.modules:
            strength = self._of_all(active, strength)
            active = tuple(range(self.block.modules))
        layers = self.layers(active)
        if strength is not None:
            layers[-1] = replace(layers[-1], weight=layers[-1].weight * self._by_channel(strength))
        for layer in layers:
            x = layer(x, statistics, self.epsilon)
        return trunk + x if self.trunk else x

    def _of_all(self, active: tuple[int, ...], strength: Tensor | None) -> Tensor:
        """Return the factors of all modules, 0 for those that are off.

        A GPU plans every new shape of a convolution for longer than it computes it, so that in training modules are
        not left out there but multiplied by 0.
        """
        ones = torch.ones(len(active), device=self.expand.device) if strength is None else strength
        places = torch.tensor(active, dtype=torch.int64, device=ones.device)
        return torch.zeros(self.block.modules, device=ones.device).index_copy(0, places, ones)

    def _by_channel(self, strength: Tensor) -> Tensor:
        always = torch.ones(self.block.always_channels, device=strength.device)
        each = strength.repeat_interleave(self.block.module_channels)
        return torch.cat([always, each])[None, :, None, None]
