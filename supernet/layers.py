"""Layers whose modules are switched on by index; what is off is never computed.

Legend: B images, C channels in, D channels out, H hidden channels (modules x channels of a module), k kernel side.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.card import Block

NORM_EPSILON = 1e-5


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

    def take(self, x: Tensor) -> Moments:
        """Return the Moments of the next layer, measured on x (B x C x height x width) unless they stand."""
        if not self.filled:
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
            self.moments.append(Moments(mean, variance))
        self._next += 1
        return self.moments[self._next - 1]


def normalise(x: Tensor, weight: Tensor, bias: Tensor, statistics: Statistics | None) -> Tensor:
    """BatchNorm of x (B x C x height x width): by its own batch, or by the given statistics."""
    if statistics is None:
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=NORM_EPSILON)
    moments = statistics.take(x)
    return F.batch_norm(x, moments.mean, moments.variance, weight, bias, training=False, eps=NORM_EPSILON)


class NormConv(nn.Module):
    """Convolution without bias, then BatchNorm, always on. Weight D x C x k x k."""

    def __init__(self, c: int, d: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d, c, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        self.scale = nn.Parameter(torch.ones(d))
        self.shift = nn.Parameter(torch.zeros(d))
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor, statistics: Statistics | None) -> Tensor:
        """B x C x height x width -> B x D x height / stride x width / stride."""
        y = F.conv2d(x, self.weight, None, self.stride, self.padding)
        return normalise(y, self.scale, self.shift, statistics)


class ModularBlock(nn.Module):
    """Trunk + sum of the active modules, see ``supernet.card.Block``.

    Weights of all modules lie one after the other: ``expand`` H x C x k x k, ``scale`` and ``shift`` H,
    ``project`` D x H x 1 x 1, started at zero so that a fresh block is its trunk.
    """

    def __init__(self, block: Block, module_channels: int) -> None:
        super().__init__()
        hidden = block.modules * module_channels
        self.channels = module_channels
        self.modules_count = block.modules
        self.stride = block.stride
        self.padding = block.kernel // 2
        self.expand = nn.Parameter(torch.empty(hidden, block.in_channels, block.kernel, block.kernel))
        nn.init.kaiming_normal_(self.expand, mode="fan_in", nonlinearity="relu")
        self.scale = nn.Parameter(torch.ones(hidden))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.project = nn.Parameter(torch.zeros(block.out_channels, hidden, 1, 1))
        self.shortcut = (
            None
            if block.identity
            else NormConv(block.in_channels, block.out_channels, block.stride, block.stride, 0)
        )

    def rows(self, active: tuple[int, ...]) -> Tensor:
        """Return the indices of the hidden channels of the active modules, ascending, int64."""
        starts = torch.tensor(active, dtype=torch.int64, device=self.expand.device) * self.channels
        steps = torch.arange(self.channels, device=self.expand.device)
        return (starts[:, None] + steps[None, :]).reshape(-1)

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
        if not active:
            return trunk
        weights: tuple[Tensor, Tensor, Tensor, Tensor]
        if len(active) == self.modules_count:
            weights = (self.expand, self.scale, self.shift, self.project)
        else:
            rows = self.rows(active)
            weights = (self.expand[rows], self.scale[rows], self.shift[rows], self.project[:, rows])
        expand, scale, shift, project = weights
        hidden = F.conv2d(x, expand, None, self.stride, self.padding)
        hidden = F.relu(normalise(hidden, scale, shift, statistics))
        if strength is not None:
            project = project * strength.repeat_interleave(self.channels)[None, :, None, None]
        return trunk + F.conv2d(hidden, project)
