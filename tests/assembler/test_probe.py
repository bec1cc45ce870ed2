"""The first head of a supernet whose features are good already."""

import copy

import torch

from assembler.probe import start_head
from supernet.evaluate import accuracy_of
from supernet.gates import full_gates
from tests.shapes import SMALL
from tests.small import small_images, small_supernet


def test_the_head_reads_features_that_stay_as_they_are() -> None:
    supernet = small_supernet()
    before = copy.deepcopy(supernet.state_dict())
    start_head(supernet, small_images(40, seed=1))
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, before[name]) is not name.startswith("head."), name
    gates, calibration, unseen = full_gates(SMALL), small_images(20, seed=2), small_images(20, seed=3)
    fitted = accuracy_of(supernet, gates, calibration, unseen)
    assert fitted > 0.6
    supernet.load_state_dict(before)
    assert fitted > 2 * accuracy_of(supernet, gates, calibration, unseen)
