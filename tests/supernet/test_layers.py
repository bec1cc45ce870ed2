"""A block is its trunk plus its active modules."""

import pytest
import torch
from torch.nn import functional as F

from supernet.layers import ModularBlock, NormConv, Statistics, normalise
from supernet.shapes import ConvShape
from tests.shapes import INVERTED, SMALL

X = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))


def random_block(index: int) -> ModularBlock:
    torch.manual_seed(0)
    block = ModularBlock(SMALL, SMALL.blocks[index])
    torch.nn.init.normal_(block.project, 0.0, 0.1)
    return block


@pytest.mark.parametrize("index", [0, 1])
def test_modules_add_up(index: int) -> None:
    block = random_block(index)
    trunk = block(X, (), None)
    alone = [block(X, (module,), None) - trunk for module in range(3)]
    together = block(X, (0, 1, 2), None) - trunk
    assert torch.allclose(sum(alone), together, atol=1e-5)  # type: ignore[arg-type]


def test_normalising_by_the_batch_is_batch_norm() -> None:
    weight, bias = torch.rand(16), torch.rand(16)
    expected = F.batch_norm(X, None, None, weight, bias, training=True)
    assert torch.allclose(normalise(X, weight, bias, None, 1e-5), expected, atol=1e-6)
    statistics = Statistics()
    statistics.start()
    assert torch.allclose(normalise(X, weight, bias, statistics, 1e-5), expected, atol=1e-5)
    statistics.finish()
    statistics.start()
    assert torch.allclose(normalise(X, weight, bias, statistics, 1e-5), expected, atol=1e-5)
    (moments,) = statistics.moments
    variance, mean = torch.var_mean(X, dim=(0, 2, 3), correction=0)
    assert torch.allclose(moments.mean, mean, atol=1e-6)
    assert torch.allclose(moments.variance, variance, rtol=1e-5)


def test_a_strided_layer_halves_the_sides() -> None:
    assert NormConv(ConvShape(16, 24, 8, 8, kernel=2, stride=2), 1e-5)(X, None).shape == (4, 24, 4, 4)


@pytest.mark.parametrize(("kernel", "padding"), [(3, (0, 1)), (5, (1, 2))])
def test_late_padding_puts_what_is_left_over_at_the_end(kernel: int, padding: tuple[int, int]) -> None:
    """Source: padding "same" of TensorFlow, which torch does not have for strides."""
    before, after = padding
    shape = ConvShape(16, 24, 8, 8, kernel, 2, padding)
    layer = NormConv(shape, 1e-5)
    padded = F.pad(X, (before, after, before, after))
    expected = normalise(F.conv2d(padded, layer.weight, None, 2), layer.scale, layer.shift, None, 1e-5)
    assert torch.equal(layer(X, None), expected)
    assert expected.shape == (4, 24, 4, 4)


def test_channels_that_are_always_on_come_first_and_stay() -> None:
    block = ModularBlock(INVERTED, INVERTED.blocks[1])
    assert block.rows(()).tolist() == list(range(8))
    assert block.rows((0, 2)).tolist() == [*range(8), *range(8, 24), *range(40, 56)]
    assert block(X, (), None).shape == (4, 32, 4, 4)
    assert not block.trunk
