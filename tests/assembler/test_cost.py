from functools import reduce
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.compile.onnx import build
from assembler.cost import cost_of, macs, merge_bytes, peak_activation_bytes, size_bytes
from assembler.device import Profile
from assembler.subnet import Conv, Subnet, random_subnet
from supernet.card import Activation, Architecture, Block, BlockKind, ImageInput, Stem


def counts_of(architecture: Architecture) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.integers(0, block.modules) for block in architecture.blocks))


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    side, channels = draw(st.sampled_from([8, 16, 24])), draw(st.sampled_from([8, 24]))
    image = ImageInput(
        channels=draw(st.sampled_from([1, 3])), height=2 * side, width=2 * side, mean=(0.0,), std=(1.0,)
    )
    image = image.model_copy(update={"mean": (draw(st.sampled_from([0.0, 7.5])),) * image.channels})
    blocks = []
    for index in range(draw(st.integers(1, 13))):
        stride = draw(st.sampled_from([1, 1, 2])) if side % 2 == 0 else 1
        grown = draw(st.sampled_from([channels, channels + 16]))
        sizes = {"in_channels": channels, "out_channels": grown, "height": side, "width": side}
        blocks.append(
            Block(
                name=str(index),
                modules=3,
                kernel=draw(st.sampled_from([1, 3, 5])),
                stride=stride,
                kind=draw(st.sampled_from(BlockKind)),
                module_channels=draw(st.sampled_from([8, 16])),
                always_channels=draw(st.sampled_from([8, 16])) if stride > 1 or grown > channels else 0,
                **sizes,
            )
        )
        side, channels = side // stride, grown
    return Architecture(
        input=image,
        stem=Stem(channels=blocks[0].in_channels, kernel=3, stride=2)
        if draw(st.booleans())
        else Stem(channels=8, kernel=3, stride=2, separable=blocks[0].in_channels),
        blocks=tuple(blocks),
        neck_channels=32,
        activation=draw(st.sampled_from(Activation)),
        late_padding=draw(st.booleans()),
    )


def check_size(architecture: Architecture, counts: tuple[int, ...], classes: int) -> None:
    metadata = {"classes": '["bag", "coat"]', "input": "28x28 gray"}
    told = sum(len(key) + len(value) + 8 for key, value in metadata.items())
    content = build(random_subnet(architecture, counts, classes), architecture.input, metadata)
    predicted = size_bytes(architecture, counts, classes, metadata_bytes=told)
    assert len(content) <= predicted <= len(content) + max(4000, 0.02 * len(content))


def test_size_is_never_below_the_file_and_close_to_it(shipped: Architecture) -> None:
    @settings(max_examples=25, deadline=None)
    @given(counts=counts_of(shipped), classes=st.integers(1, 10))
    def check(counts: tuple[int, ...], classes: int) -> None:
        check_size(shipped, counts, classes)

    check()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_size_holds_for_any_architecture(data: st.DataObject) -> None:
    architecture = data.draw(architectures())
    check_size(architecture, data.draw(counts_of(architecture)), data.draw(st.integers(1, 200)))


def test_switching_a_module_off_never_raises_any_cost(shipped: Architecture, profile: Profile) -> None:
    @given(counts=counts_of(shipped), block=st.integers(0, len(shipped.blocks) - 1))
    def check(counts: tuple[int, ...], block: int) -> None:
        fewer = tuple(max(0, n - 1) if i == block else n for i, n in enumerate(counts))
        more, less = (cost_of(shipped, c, 5, profile) for c in (counts, fewer))
        assert less.latency_ms <= more.latency_ms
        assert less.memory_mb <= more.memory_mb
        assert less.size_mb <= more.size_mb
        assert macs(shipped, fewer, 5) <= macs(shipped, counts, 5)

    check()


@given(data=st.data())
def test_activations_only_rise_with_modules(data: st.DataObject) -> None:
    architecture = data.draw(architectures())
    counts = data.draw(counts_of(architecture))
    for index in range(len(counts)):
        rows = [(*counts[:index], n, *counts[index + 1 :]) for n in range(4)]
        for less, more in pairwise(rows):
            assert peak_activation_bytes(architecture, less) <= peak_activation_bytes(architecture, more)


def macs_of(subnet: Subnet, architecture: Architecture) -> int:
    """Count by walking the network itself."""

    def conv(side: int, one: Conv) -> tuple[int, int]:
        out = (side + sum(one.padding) - one.weight.shape[-1]) // one.stride + 1
        return out, out * out * reduce(lambda x, y: x * y, one.weight.shape)

    side, total = architecture.input.height, 0
    for one in subnet.stem:
        side, found = conv(side, one)
        total += found
    for block in subnet.blocks:
        result = side
        if block.shortcut is not None:
            result, found = conv(side, block.shortcut)
            total += found
        if block.path:
            result = side
        for one in block.path:
            result, found = conv(result, one)
            total += found
        side = result
    return total + conv(side, subnet.neck)[1] + subnet.head_weight.size


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_macs_are_those_of_the_network(data: st.DataObject) -> None:
    architecture = data.draw(architectures())
    counts = data.draw(counts_of(architecture))
    assert macs(architecture, counts, 7) == macs_of(random_subnet(architecture, counts, 7), architecture)


def test_the_peak_is_that_of_the_widest_block(shipped: Architecture) -> None:
    # 14 x 14: 16 channels in, 64 hidden; then 16 trunk and 16 out beside them.
    assert peak_activation_bytes(shipped, (4, 0, 0, 0, 0, 0, 0, 0)) == 4 * 14 * 14 * (64 + 16 + 16)
    # Nothing on: the neck's input and output are the most there is.
    assert peak_activation_bytes(shipped, (0,) * 8) == 4 * 7 * 7 * (48 + 128)


def test_cost_uses_every_part_of_the_profile(shipped: Architecture, profile: Profile) -> None:
    counts = (1, 0, 2, 3, 0, 0, 6, 1)
    cost = cost_of(shipped, counts, 10, profile, metadata_bytes=0)
    table = sum(row[n] for row, n in zip(profile.latency.table, counts, strict=True))
    size, peak = size_bytes(shipped, counts, 10, metadata_bytes=0), peak_activation_bytes(shipped, counts)
    assert cost.latency_ms == pytest.approx(1.02 * table + 0.018)
    assert cost.size_mb == size / 1e6
    assert cost.memory_mb == pytest.approx(0.4 + 3.1 * size / 1e6 + 1.3 * peak / 1e6)
    assert cost_of(shipped, counts, 10, profile, metadata_bytes=10**6).size_mb == pytest.approx(
        cost.size_mb + 1
    )


@given(rows=st.integers(3, 40), data=st.data())
def test_size_holds_with_outputs_of_several_classes(
    shipped: Architecture, rows: int, data: st.DataObject
) -> None:
    outputs, counts = data.draw(st.integers(1, rows - 1)), (1, 0, 2, 3, 0, 0, 6, 1)
    of = tuple(min(row, outputs - 1) for row in range(rows))
    plain, merged = (
        len(build(random_subnet(shipped, counts, rows, of=each), shipped.input)) for each in (None, of)
    )
    assert 0 <= merge_bytes(rows, outputs) - (merged - plain) < 300
