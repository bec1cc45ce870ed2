"""The file stands alone, and a second way of writing it agrees."""

import io
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from assembler.compile.onnx import FEATURES_NAME, build
from assembler.subnet import Conv, Subnet, random_subnet
from supernet.card import Activation, Architecture
from tests.shapes import INVERTED, SMALL

COUNTS = (2, 0, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16)).astype(np.float32)


class Twin(nn.Module):
    """The same Subnet in torch, for torch's own exporter."""

    def __init__(self, subnet: Subnet) -> None:
        super().__init__()
        self.subnet = subnet

    def conv(self, x: Tensor, conv: Conv) -> Tensor:
        weight, bias = torch.from_numpy(conv.weight), torch.from_numpy(conv.bias)
        x = nn.functional.pad(x, (*conv.padding, *conv.padding))
        y = nn.functional.conv2d(x, weight, bias, conv.stride, groups=conv.groups)
        if conv.activation is None:
            return y
        return nn.functional.relu(y) if conv.activation is Activation.RELU else y.clamp(0, 6)

    def forward(self, image: Tensor) -> Tensor:
        x = image - torch.tensor(self.subnet.input_mean).reshape(1, -1, 1, 1)
        for conv in self.subnet.stem:
            x = self.conv(x, conv)
        for block in self.subnet.blocks:
            trunk = x if block.shortcut is None else self.conv(x, block.shortcut)
            for conv in block.path:
                x = self.conv(x, conv)
            x = (trunk + x if block.trunk else x) if block.path else trunk
        x = self.conv(x, self.subnet.neck).mean(dim=(2, 3))
        logits = x @ torch.from_numpy(self.subnet.head_weight).T + torch.from_numpy(self.subnet.head_bias)
        return torch.softmax(logits, dim=1)


def scores(content: bytes) -> np.ndarray:
    (answer,) = onnxruntime.InferenceSession(content).run(None, {"image": IMAGES})
    return answer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", [SMALL, INVERTED])
def test_torchs_own_exporter_gives_the_same_answers(architecture: Architecture) -> None:
    subnet = random_subnet(architecture, COUNTS, 4)
    file = io.BytesIO()
    torch.onnx.export(Twin(subnet), (torch.from_numpy(IMAGES),), file, input_names=["image"], dynamo=False)
    np.testing.assert_allclose(scores(build(subnet, SMALL.input)), scores(file.getvalue()), atol=1e-5)


def test_the_file_passes_the_checker_and_names_its_ends() -> None:
    model = onnx.load_from_string(build(random_subnet(SMALL, COUNTS, 4), SMALL.input, {"classes": '["é"]'}))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["scores"]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"classes": '["é"]'}


def test_scores_are_probabilities_for_any_batch() -> None:
    content = build(random_subnet(SMALL, COUNTS, 4), SMALL.input)
    session = onnxruntime.InferenceSession(content)
    for size in (1, 3):
        (answer,) = session.run(None, {"image": IMAGES[:size]})
        assert answer.shape == (size, 4)
        np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-5)


def test_the_same_subnet_gives_the_same_bytes() -> None:
    subnet = random_subnet(SMALL, COUNTS, 4)
    meta = {"b": "2", "a": "1"}
    assert build(subnet, SMALL.input, meta) == build(subnet, SMALL.input, meta)


def test_features_are_what_the_head_sees() -> None:
    subnet = random_subnet(SMALL, COUNTS, 4)
    features = scores(build(subnet, SMALL.input, output=FEATURES_NAME))
    logits = features @ subnet.head_weight.T + subnet.head_bias
    logits -= logits.max(axis=1, keepdims=True)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores(build(subnet, SMALL.input)), expected, atol=1e-5)


def test_rows_of_one_output_are_added_up() -> None:
    every = random_subnet(SMALL, COUNTS, 6)
    some = replace(every, of=(0, 1, 1, 2, 2, 2))
    alone = scores(build(every, SMALL.input))
    together = scores(build(some, SMALL.input))
    assert together.shape[1] == some.outputs == 3
    np.testing.assert_allclose(together[:, 0], alone[:, 0], atol=1e-6)
    np.testing.assert_allclose(together[:, 1], alone[:, 1:3].sum(axis=1), atol=1e-6)
    np.testing.assert_allclose(together[:, 2], alone[:, 3:].sum(axis=1), atol=1e-6)
    logits = some.logits(scores(build(every, SMALL.input, output=FEATURES_NAME)))
    expected = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(together, expected, atol=1e-5)
