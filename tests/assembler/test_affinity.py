"""Saliency says which modules matter, and to whom."""

import torch

from assembler.affinity import AFFINITY_SPREAD, affinity_from, class_saliency
from tests.small import small_images, small_supernet
from tests.working import result_of


def test_saliency_finds_the_module_that_a_class_needs() -> None:
    supernet = small_supernet()
    with torch.no_grad():
        supernet.modular_blocks[2].project[:, 16:32] *= 20.0
    saliency = result_of(class_saliency(supernet, small_images(12), networks=12, per_class=8))
    affinity = affinity_from(saliency)
    assert saliency.shape == affinity.shape == (6, 11)
    assert int(saliency.mean(dim=0)[7:].argmax()) == 1
    assert float(affinity.mean(dim=0).abs().max()) < 1e-5


def test_a_module_that_is_never_on_suits_all_alike() -> None:
    saliency = torch.rand(4, 5) + 0.1
    saliency[:, 2] = 0.0
    affinity = affinity_from(saliency)
    assert torch.equal(affinity[:, 2], torch.zeros(4))
    assert abs(float(affinity.std()) - AFFINITY_SPREAD) < 1e-5
