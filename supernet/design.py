"""Designs: the architectures that supernets are trained in."""

from supernet.card import Architecture, Block, ImageInput, Stem

EARLY, LATE, NECK = 16, 48, 128
EARLY_BLOCKS, EARLY_MODULES = 3, 4
DOWN_MODULES = 8
LATE_BLOCKS, LATE_MODULES = 4, 6


def small_design(*, channels: int, side_px: int, sides: tuple[int, ...] = ()) -> Architecture:
    """Return the design for images of about 24 to 40 px a side: 8 residual blocks with 3x3 convolutions.

    Pixels are only divided, so that normalisation costs a model nothing. Early blocks follow the budget alone;
    from the one that halves the resolution a second time on, modules are chosen by class.

    Args:
        channels: of the image, 1 or 3.
        side_px: of the square image; a multiple of 4.
        sides: smaller squares that a model may shrink its image to, px, multiples of 4.

    Raises:
        ValueError: a side is not a multiple of 4, or no smaller one.
    """
    if side_px % 4:
        raise ValueError(f"side_px is {side_px}, a multiple of 4 is needed")
    for side in sides:
        if side % 4 or not 0 < side < side_px:
            raise ValueError(f"a smaller side is {side} px, a multiple of 4 below {side_px} is needed")
    half, quarter = side_px // 2, side_px // 4
    blocks = [
        _block(f"early{i}", EARLY_MODULES, 1, EARLY, EARLY, half, task_wise=False)
        for i in range(EARLY_BLOCKS)
    ]
    blocks.append(_block("down", DOWN_MODULES, 2, EARLY, LATE, half, task_wise=True))
    blocks += [
        _block(f"late{i}", LATE_MODULES, 1, LATE, LATE, quarter, task_wise=True) for i in range(LATE_BLOCKS)
    ]
    return Architecture(
        input=ImageInput(
            channels=channels,
            height=side_px,
            width=side_px,
            color="gray" if channels == 1 else "rgb",
            mean=(0.0,) * channels,
            std=(255.0,) * channels,
        ),
        stem=Stem(channels=EARLY, kernel=3, stride=2),
        blocks=tuple(blocks),
        neck_channels=NECK,
        sides=tuple(sorted(set(sides), reverse=True)),
    )


def _block(name: str, modules: int, stride: int, c: int, d: int, side: int, *, task_wise: bool) -> Block:
    return Block(
        name=name,
        modules=modules,
        kernel=3,
        stride=stride,
        in_channels=c,
        out_channels=d,
        height=side,
        width=side,
        task_wise=task_wise,
    )
