"""Small architectures that tests share; loads no torch."""

from supernet.card import Activation, Architecture, Block, BlockKind, ImageInput, Stem

SMALL = Architecture(
    input=ImageInput(channels=1, height=16, width=16, mean=(20.0,), std=(100.0,)),
    stem=Stem(channels=16, kernel=3, stride=2),
    blocks=(
        Block(name="a0", modules=3, kernel=3, stride=1, in_channels=16, out_channels=16, height=8, width=8),
        Block(
            name="down",
            modules=4,
            kernel=3,
            stride=2,
            in_channels=16,
            out_channels=32,
            height=8,
            width=8,
            task_wise=True,
        ),
        Block(
            name="b0",
            modules=4,
            kernel=3,
            stride=1,
            in_channels=32,
            out_channels=32,
            height=4,
            width=4,
            task_wise=True,
        ),
    ),
    neck_channels=32,
    sides=(12, 8),
)

# With as many modules, but of inverted residuals, padded late.
INVERTED = SMALL.model_copy(
    update={
        "stem": Stem(channels=24, kernel=3, stride=2, separable=16),
        "blocks": tuple(
            block.model_copy(
                update={
                    "kind": BlockKind.INVERTED,
                    "kernel": 5 if block.name == "down" else 3,
                    "always_channels": 0 if block.identity else 8,
                }
            )
            for block in SMALL.blocks
        ),
        "activation": Activation.RELU6,
        "norm_epsilon": 1e-3,
        "late_padding": True,
        "sides": (8,),
    }
)
