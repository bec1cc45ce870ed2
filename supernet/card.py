"""Card: the torch-free description of a checkpoint.

A checkpoint is a folder: ``card.json`` (this), ``weights.safetensors``, ``assembler.onnx`` and ``predictor.onnx``
(the assembler's networks, run by onnxruntime), ``references.npz`` (what networks of some sizes say of the validation
images), ``images.npz`` (calibration and validation images) or, where the licence of the data does not allow that,
``images.json`` (which images of the data set they are). ``look.html``, which shows all this to people, may lie beside
them; the Card does not list it.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from supernet.errors import CheckpointDamaged
from supernet.task import Kind, Outputs, Task, outputs_of

CARD_FILE = "card.json"


class Frozen(BaseModel):
    """Base of the Card's parts: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Digested(Frozen):
    """Base of values with a ``digest``, a cached property."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with other values if wanted, whose digest is its own."""
        found = super().model_copy(update=update, deep=deep)
        found.__dict__.pop("digest", None)
        return found


class Activation(StrEnum):
    """What follows a normalised convolution."""

    RELU = "relu"
    RELU6 = "relu6"


class BlockKind(StrEnum):
    """How a module computes: see ``Block``."""

    FUSED = "fused"
    INVERTED = "inverted"


class ImageInput(Frozen):
    """What a model is fed: float32 B x channels x height x width, values 0..255."""

    channels: int = Field(ge=1, le=4)
    height: int = Field(ge=8, description="px")
    width: int = Field(ge=8, description="px")
    color: str = Field(default="gray", description="channel order: gray or rgb")
    mean: tuple[float, ...] = Field(description="subtracted from the pixels, one number a channel")
    std: tuple[float, ...] = Field(description="the pixels are divided by it, one number a channel")


class Stem(Frozen):
    """The first convolution, always on; perhaps followed by a depthwise one and a 1x1 one to ``separable`` channels."""

    channels: int = Field(ge=1)
    kernel: int = Field(ge=1)
    stride: int = Field(ge=1)
    separable: int | None = Field(default=None, ge=1)


class Block(Frozen):
    """One residual block: trunk + sum of its active modules.

    A ``fused`` module expands ``in_channels`` to ``module_channels`` by a ``kernel`` x ``kernel`` convolution
    with the block's stride, BatchNorm and activation, and projects to ``out_channels`` by a 1x1 convolution. The trunk
    is the identity, or, where sizes change, a convolution as wide as the stride with BatchNorm.
    An ``inverted`` module expands by a 1x1 convolution, goes on with a depthwise one of the block's kernel and stride,
    each with BatchNorm and activation, and projects; BatchNorm follows the sum of the modules. The trunk is the
    identity, or, where sizes change, there is none: then ``always_channels`` hidden channels are on in any case.
    """

    name: str
    modules: int = Field(ge=1)
    kernel: int = Field(ge=1)
    stride: int = Field(ge=1, le=2)
    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    height: int = Field(ge=1, description="px, of the block's input")
    width: int = Field(ge=1, description="px, of the block's input")
    task_wise: bool = Field(default=False, description="whether its modules are chosen by class")
    kind: BlockKind = BlockKind.FUSED
    module_channels: int = Field(default=16, ge=1)
    always_channels: int = Field(default=0, ge=0, description="hidden channels of no module, always on")

    @model_validator(mode="after")
    def _never_without_output(self) -> "Block":
        if self.kind is BlockKind.INVERTED and not self.identity and not self.always_channels:
            raise ValueError("an inverted block that changes sizes needs channels that are always on")
        return self

    @property
    def identity(self) -> bool:
        """Whether the trunk passes through unchanged."""
        return self.stride == 1 and self.in_channels == self.out_channels

    def hidden_channels(self, count: int) -> int:
        """Return how many hidden channels it has with so many modules on."""
        return self.always_channels + count * self.module_channels


class Architecture(Frozen):
    """All sizes of a supernet."""

    input: ImageInput
    stem: Stem
    blocks: tuple[Block, ...] = Field(min_length=1)
    neck_channels: int = Field(ge=1)
    activation: Activation = Activation.RELU
    norm_epsilon: float = Field(default=1e-5, gt=0)
    late_padding: bool = Field(
        default=False,
        description="whether convolutions with a stride are padded at the end only, where one side needs more",
    )
    sides: tuple[int, ...] = Field(
        default=(), description="px, smaller squares that a model may shrink its image to, descending"
    )
    shrunk_from: int | None = Field(
        default=None, description="px, side of the image before it is shrunk; only what ``at`` returns has it"
    )

    @model_validator(mode="after")
    def _sides_shrink(self) -> "Architecture":
        whole = self.input.height
        if self.sides and self.input.width != whole:
            raise ValueError("only square images can be shrunk")
        for side in self.sides:
            if not 0 < side < whole or any(block.height * side % whole for block in self.blocks):
                raise ValueError(f"a side of {side} px does not divide into the blocks' sizes")
        if list(self.sides) != sorted(set(self.sides), reverse=True):
            raise ValueError("sides must fall")
        return self

    @property
    def modules(self) -> tuple[int, ...]:
        """How many modules each block has, L numbers."""
        return tuple(block.modules for block in self.blocks)

    @property
    def every_side(self) -> tuple[int | None, ...]:
        """The sides that a model may see its image at, descending; None is the whole image."""
        return (None, *self.sides)

    def at(self, side: int | None) -> "Architecture":
        """Return the sizes of a model that shrinks its image to ``side`` px first; None is the whole image.

        The input of the result is the shrunk image.
        """
        return self if side is None else _at(self, side)


@lru_cache(maxsize=64)
def _at(architecture: Architecture, side: int) -> Architecture:
    whole = architecture.input.height
    blocks = tuple(
        block.model_copy(
            update={"height": block.height * side // whole, "width": block.width * side // whole}
        )
        for block in architecture.blocks
    )
    shrunk = architecture.input.model_copy(update={"height": side, "width": side})
    return architecture.model_copy(
        update={"input": shrunk, "blocks": blocks, "sides": (), "shrunk_from": whole}
    )


class DataSource(Frozen):
    """Where the images came from."""

    name: str
    licence: str
    credit: str

    @property
    def told(self) -> str:
        """Name and credit in a line."""
        return f"data set {self.name}: {self.credit}" if self.credit else f"data set {self.name}"


class Renewal(Frozen):
    """How the accuracy predictor of a finished checkpoint was fitted anew."""

    command: str
    versions: dict[str, str]


class Training(Frozen):
    """How the checkpoint was made."""

    command: str
    seed: int
    epochs: float
    duration_s: float
    augmentation: dict[str, Any] | None = Field(
        default=None,
        description="how images were changed, see ``supernet.augment.Augmentation``; None is not known",
    )
    backbone: str | None = Field(
        default=None, description="the published network that it was grown from, with its credit"
    )
    machine: str
    versions: dict[str, str]
    renewal: Renewal | None = Field(
        default=None, description="how the accuracy predictor was fitted anew since; None where it was not"
    )


class Figures(Frozen):
    """What was measured of the dense net, on the data set's own test split."""

    dense_accuracy: float = Field(ge=0, le=1)
    dense_accuracy_by_class: tuple[float, ...]
    test_images: int = Field(ge=0)
    predictor_error: float = Field(ge=0, description="mean absolute error of predicted accuracy, 0..1")
    predictor_pairs: int = Field(ge=0, description="unseen class sets it was measured on")


class Card(Digested):
    """Everything about a checkpoint but its numbers."""

    name: str
    kind: Kind
    classes: tuple[str, ...]
    groups: dict[str, tuple[int, ...]] = Field(
        default={}, description="further names that can be asked for: all of some classes, by index, together"
    )
    architecture: Architecture
    raises: tuple[int, ...] = Field(
        default=(),
        description="how many modules are on when the image grows, on the ladder that sub-networks were trained along, "
        "for every smaller side, the smallest first; empty where there are none or it was not kept",
    )
    data: DataSource
    training: Training
    figures: Figures
    files: dict[str, str] = Field(description="sha256, hexadecimal, of every other file of the checkpoint")

    @model_validator(mode="after")
    def _groups_are_of_classes(self) -> "Card":
        for name, members in self.groups.items():
            if name in self.classes:
                raise ValueError("a group is named as a class is")
            if (
                not members
                or len(set(members)) < len(members)
                or not set(members) <= set(range(len(self.classes)))
            ):
                raise ValueError("a group is not of classes")
        return self

    @model_validator(mode="after")
    def _raises_are_of_sides(self) -> "Card":
        if self.raises and len(self.raises) != len(self.architecture.sides):
            raise ValueError("raises are of the smaller sides, one each")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All that can be asked for: classes, then groups."""
        return (*self.classes, *self.groups)

    def outputs(self, task: Task) -> Outputs:
        """Return the outputs of the model for a task whose names are all known."""
        return outputs_of(task, self.classes, self.groups)

    @cached_property
    def digest(self) -> str:
        """The checkpoint's identity: sha256, hexadecimal, of everything that changes a model cut out of it."""
        facts: dict[str, object] = {
            "name": self.name,
            "classes": self.classes,
            "architecture": self.architecture.model_dump(mode="json", exclude_defaults=True),
            "files": dict(sorted(self.files.items())),
        }
        if self.groups:
            facts["groups"] = self.groups
        if self.raises:
            facts["raises"] = self.raises
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_card(folder: Path) -> Card:
    """Read the Card of a checkpoint folder and check that every file it names is whole.

    Raises:
        CheckpointDamaged: a file is missing, unreadable, or its sha256 differs from the Card's.
    """
    path = folder / CARD_FILE
    try:
        card = Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CheckpointDamaged(folder, f"{CARD_FILE} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"]) or "the document"
        raise CheckpointDamaged(folder, f"{CARD_FILE} is not a Card ({where}: {first['msg']})") from error
    for name, digest in card.files.items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise CheckpointDamaged(folder, f"{name} cannot be read ({error.strerror})") from error
        if found != digest:
            raise CheckpointDamaged(folder, f"{name} does not match its sha256 in {CARD_FILE}")
    return card
