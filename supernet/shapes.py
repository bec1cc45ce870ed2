"""The convolutions that a network of some sizes is made of. Loads no torch."""

from dataclasses import dataclass

from supernet.card import Activation, Architecture, Block, BlockKind


@dataclass(frozen=True, slots=True)
class ConvShape:
    """One convolution with bias, groups of channels apart; ``height`` and ``width`` px of its input.

    ``padding`` is in px, before and after; ``activation`` follows.
    """

    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: int = 1
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    activation: Activation | None = None

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the weight: channels out, channels in of a group, kernel, kernel."""
        return (self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel)

    @property
    def weights(self) -> int:
        """How many numbers the weight has."""
        return self.out_channels * (self.in_channels // self.groups) * self.kernel**2

    @property
    def out_pixels(self) -> int:
        """Pixels of a channel of its output."""
        return (self.height // self.stride) * (self.width // self.stride)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.out_pixels * self.weights


def stem_shapes(architecture: Architecture) -> tuple[ConvShape, ...]:
    """Return the convolutions before the blocks."""
    image, stem, act = architecture.input, architecture.stem, architecture.activation
    first = ConvShape(
        in_channels=image.channels,
        out_channels=stem.channels,
        height=image.height,
        width=image.width,
        kernel=stem.kernel,
        stride=stem.stride,
        padding=_padding(architecture, stem.kernel, stem.stride),
        activation=act,
    )
    if stem.separable is None:
        return (first,)
    height, width = image.height // stem.stride, image.width // stem.stride
    depthwise = ConvShape(
        in_channels=stem.channels,
        out_channels=stem.channels,
        height=height,
        width=width,
        kernel=stem.kernel,
        padding=_padding(architecture, stem.kernel, 1),
        groups=stem.channels,
        activation=act,
    )
    return (first, depthwise, ConvShape(stem.channels, stem.separable, height, width))


def shortcut_shape(block: Block) -> ConvShape | None:
    """Return the convolution of a block's trunk, None where it has none."""
    if block.identity or block.kind is BlockKind.INVERTED:
        return None
    return ConvShape(
        block.in_channels, block.out_channels, block.height, block.width, block.stride, block.stride
    )


def module_shapes(architecture: Architecture, block: Block, hidden: int) -> tuple[ConvShape, ...]:
    """Return the convolutions of so many hidden channels of a block, none for no channel."""
    if not hidden:
        return ()
    c, d, height, width = block.in_channels, block.out_channels, block.height, block.width
    act = architecture.activation
    padding = _padding(architecture, block.kernel, block.stride)
    project = ConvShape(hidden, d, height // block.stride, width // block.stride)
    if block.kind is BlockKind.FUSED:
        expand = ConvShape(c, hidden, height, width, block.kernel, block.stride, padding, activation=act)
        return (expand, project)
    expand = ConvShape(c, hidden, height, width, activation=act)
    depthwise = ConvShape(
        hidden, hidden, height, width, block.kernel, block.stride, padding, groups=hidden, activation=act
    )
    return (expand, depthwise, project)


def neck_shape(architecture: Architecture) -> ConvShape:
    """Return the convolution behind the blocks."""
    last = architecture.blocks[-1]
    return ConvShape(
        last.out_channels,
        architecture.neck_channels,
        last.height // last.stride,
        last.width // last.stride,
        activation=architecture.activation,
    )


def _padding(architecture: Architecture, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding that makes a side that the stride divides shrink by just the stride."""
    if not architecture.late_padding:
        return kernel // 2, kernel // 2
    before = (kernel - stride) // 2
    return before, kernel - stride - before


def module_macs(architecture: Architecture) -> tuple[int, ...]:
    """Return the multiply-accumulates of one module of every block."""
    return tuple(
        sum(shape.macs for shape in module_shapes(architecture, block, block.module_channels))
        for block in architecture.blocks
    )
