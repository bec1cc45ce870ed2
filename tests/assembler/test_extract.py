"""A Subnet computes what the supernet computes with the same gates."""

import numpy as np
import onnxruntime
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assembler.compile.onnx import build
from assembler.extract import extract
from supernet.card import Architecture
from supernet.model import calibrate
from tests.shapes import INVERTED, SMALL
from tests.small import CLASSES, small_images, small_supernet
from tests.supernet.test_gates import some_gates

IMAGES = small_images(4).images.astype(np.float32)


@settings(max_examples=20)
@given(
    st.sampled_from([SMALL, INVERTED]),
    some_gates,
    st.permutations(range(len(CLASSES))),
    st.integers(1, len(CLASSES)),
)
def test_subnet_and_supernet_agree(
    architecture: Architecture, gates: object, order: list[int], size: int
) -> None:
    supernet = small_supernet(architecture=architecture).to(memory_format=torch.channels_last)
    rows = tuple(order[:size])
    batch = torch.from_numpy(IMAGES)
    statistics = calibrate(supernet, gates, batch[:12])  # type: ignore[arg-type]
    subnet = extract(supernet, gates, statistics, rows)  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(build(subnet, SMALL.input))
    (scores,) = session.run(["scores"], {"image": IMAGES})
    with torch.no_grad():
        logits = supernet(batch, gates, statistics)[:, list(rows)]  # type: ignore[arg-type]
    np.testing.assert_allclose(scores, torch.softmax(logits, dim=1).numpy(), atol=1e-5)


def test_a_subnet_holds_only_what_is_on() -> None:
    supernet = small_supernet()
    from supernet.gates import Gates

    gates = Gates(((1,), (), (0, 3)))
    subnet = extract(supernet, gates, calibrate(supernet, gates, torch.from_numpy(IMAGES)), (2, 0))
    shapes = [[conv.weight.shape for conv in block.path] for block in subnet.blocks]
    assert shapes == [[(16, 16, 3, 3), (16, 16, 1, 1)], [], [(32, 32, 3, 3), (32, 32, 1, 1)]]
    assert subnet.blocks[1].shortcut is not None
    assert np.array_equal(subnet.head_weight, supernet.head.weight.detach().numpy()[[2, 0]])
