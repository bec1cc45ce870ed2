"""A Subnet is what its shapes say, and an output of several rows stands for all of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.subnet import Subnet, random_subnet
from supernet.card import Architecture
from tests.shapes import INVERTED, SMALL

FEATURES = np.random.default_rng(0).normal(0, 1, (20, SMALL.neck_channels)).astype(np.float32)
OF = (0, 1, 1, 2, 2, 2)

architectures = st.sampled_from([SMALL, INVERTED])
counts = st.tuples(*(st.integers(0, block.modules) for block in SMALL.blocks))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def arrays(subnet: Subnet) -> list[np.ndarray]:
    convolutions = [array for conv in subnet.convolutions for array in (conv.weight, conv.bias)]
    return [*convolutions, subnet.head_weight, subnet.head_bias]


@given(architectures, counts)
def test_every_convolution_takes_what_the_one_before_gives(
    architecture: Architecture, on: tuple[int, ...]
) -> None:
    subnet = random_subnet(architecture, on, 4)
    path = [*subnet.stem]
    for block, dense in zip(architecture.blocks, subnet.blocks, strict=True):
        if dense.shortcut is not None:
            assert dense.shortcut.weight.shape[0] == block.out_channels
        path += dense.path or ([] if dense.shortcut is None else [dense.shortcut])
    path.append(subnet.neck)
    for one, after in pairwise(path):
        assert after.weight.shape[1] * after.groups == one.weight.shape[0]
    assert all(conv.bias.shape == conv.weight.shape[:1] for conv in subnet.convolutions)
    assert subnet.head_weight.shape == (4, architecture.neck_channels)


@given(architectures, counts, st.integers(0, 2))
def test_a_module_more_means_more_parameters(
    architecture: Architecture, on: tuple[int, ...], place: int
) -> None:
    less = random_subnet(architecture, on, 4)
    assert less.parameters == sum(array.size for array in arrays(less))
    if on[place] < architecture.blocks[place].modules:
        more = (*on[:place], on[place] + 1, *on[place + 1 :])
        assert random_subnet(architecture, more, 4).parameters > less.parameters


def test_the_convolutions_stand_in_the_order_of_the_forward_pass() -> None:
    subnet = random_subnet(SMALL, (1, 0, 2), 4)
    first, none, last = subnet.blocks
    assert none.shortcut is not None
    assert subnet.convolutions == (*subnet.stem, *first.path, none.shortcut, *last.path, subnet.neck)
    assert (first.shortcut, none.path, last.shortcut) == (None, (), None)


def test_an_inverted_block_that_changes_sizes_has_no_trunk() -> None:
    assert [block.trunk for block in random_subnet(INVERTED, (0, 0, 0), 4).blocks] == [True, False, True]
    assert all(block.trunk for block in random_subnet(SMALL, (0, 0, 0), 4).blocks)


def test_random_weights_follow_from_the_seed() -> None:
    one, again, other = (arrays(random_subnet(SMALL, (1, 0, 2), 4, seed=seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert {array.dtype for array in one} == {np.dtype(np.float32)}


@pytest.mark.parametrize("side", SMALL.sides)
def test_a_network_for_a_smaller_side_shrinks_its_image(side: int) -> None:
    shrink = random_subnet(SMALL.at(side), (1, 1, 1), 4).shrink
    assert shrink is not None
    assert shrink.shape == (side, SMALL.input.height)
    assert random_subnet(SMALL, (1, 1, 1), 4).shrink is None


def test_without_merged_rows_every_row_is_an_output() -> None:
    subnet = random_subnet(SMALL, (1, 1, 1), 6)
    assert (subnet.outputs, subnet.merge) == (6, None)
    expected = FEATURES @ subnet.head_weight.T + subnet.head_bias
    np.testing.assert_array_equal(subnet.logits(FEATURES), expected)


def test_an_output_is_as_probable_as_all_its_rows_together() -> None:
    every = random_subnet(SMALL, (1, 1, 1), 6)
    merged = random_subnet(SMALL, (1, 1, 1), 6, of=OF)
    alone, together = softmax(every.logits(FEATURES)), softmax(merged.logits(FEATURES))
    assert merged.outputs == together.shape[1] == 3
    expected = [alone[:, np.equal(OF, output)].sum(axis=1) for output in range(3)]
    np.testing.assert_allclose(together, np.stack(expected, axis=1), atol=1e-6)
    merge = merged.merge
    assert merge is not None
    np.testing.assert_allclose(alone @ merge, together, atol=1e-6)


def test_large_logits_do_not_overflow() -> None:
    merged = replace(random_subnet(SMALL, (1, 1, 1), 6, of=OF), head_bias=np.full(6, 1e4, np.float32))
    assert np.isfinite(merged.logits(FEATURES)).all()


def test_another_head_changes_nothing_else() -> None:
    subnet = random_subnet(SMALL, (1, 0, 2), 4)
    other = subnet.with_head(subnet.head_weight + 1, subnet.head_bias - 1)
    assert other.convolutions == subnet.convolutions
    np.testing.assert_array_equal(other.head_weight, subnet.head_weight + 1)
    np.testing.assert_array_equal(other.head_bias, subnet.head_bias - 1)
