"""A file that computes something else does not pass."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from assembler.candidate import cut, finish
from assembler.compile.onnx import build
from assembler.errors import VerificationFailed
from assembler.subnet import Subnet
from assembler.verify import verify
from supernet.gates import prefix_gates
from tests.shapes import SMALL
from tests.small import small_images, small_supernet, sorted_images

SUPERNET = small_supernet()
IMAGES = sorted_images(small_images(30, 1), small_images(20, 2), "fox", "ant", "bee")
CANDIDATE = finish(cut(prefix_gates((2, 1, 3)), SUPERNET, IMAGES), SMALL, IMAGES)


def test_an_honest_file_passes() -> None:
    content = build(CANDIDATE.subnet, SMALL.input)
    accuracy = verify(content, CANDIDATE, SUPERNET, IMAGES.validation)
    (scores,) = onnxruntime.InferenceSession(content).run(
        None, {"image": IMAGES.validation.images.astype(np.float32)}
    )
    assert accuracy == (scores.argmax(axis=1) == IMAGES.validation.labels).mean()


def spoiled_stem(subnet: Subnet) -> Subnet:
    return replace(subnet, stem=(replace(subnet.stem[0], bias=subnet.stem[0].bias + 0.05),))


def swapped_rows(subnet: Subnet) -> Subnet:
    return subnet.with_head(subnet.head_weight[[1, 0, 2]], subnet.head_bias[[1, 0, 2]])


def not_numbers(subnet: Subnet) -> Subnet:
    return subnet.with_head(subnet.head_weight * np.float32(np.nan), subnet.head_bias)


@pytest.mark.parametrize("spoil", [spoiled_stem, swapped_rows, not_numbers])
def test_a_spoiled_file_does_not(spoil: object) -> None:
    content = build(spoil(CANDIDATE.subnet), SMALL.input)  # type: ignore[operator]
    with pytest.raises(VerificationFailed):
        verify(content, CANDIDATE, SUPERNET, IMAGES.validation)
