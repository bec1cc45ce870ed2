"""A block is its trunk plus its active modules."""

import pytest
import torch
from torch.nn import functional as F

from supernet.layers import ModularBlock, NormConv, Statistics, normalise
from tests.shapes import SMALL

X = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(0))


def random_block(index: int) -> ModularBlock:
    torch.manual_seed(0)
    block = ModularBlock(SMALL.blocks[index], SMALL.module_channels)
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
    assert torch.allclose(normalise(X, weight, bias, None), expected, atol=1e-6)
    statistics = Statistics()
    statistics.start()
    assert torch.allclose(normalise(X, weight, bias, statistics), expected, atol=1e-5)
    statistics.finish()
    statistics.start()
    assert torch.allclose(normalise(X, weight, bias, statistics), expected, atol=1e-5)
    assert len(statistics.moments) == 1


def test_a_strided_layer_halves_the_sides() -> None:
    assert NormConv(16, 24, 2, 2, 0)(X, None).shape == (4, 24, 4, 4)
