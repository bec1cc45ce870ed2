"""Write a Subnet as an ONNX file, straight from its arrays.

No tracing and no exporter: a graph of this size is built in a few milliseconds.
Input ``image``: float32 N x C x H x W, pixels 0..255. Output ``scores``: float32 N x K, softmax.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from assembler.subnet import Conv, Subnet
from supernet.card import ImageInput

OPSET = 17
IR_VERSION = 9
INPUT_NAME = "image"
OUTPUT_NAME = "scores"
FEATURES_NAME = "features"


class _Graph:
    """Collects nodes and weights; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, array: npt.NDArray[np.float32], name: str) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x: str, conv: Conv, name: str) -> str:
        side = conv.weight.shape[-1]
        y = self.node(
            "Conv",
            [x, self.weight(conv.weight, f"{name}.weight"), self.weight(conv.bias, f"{name}.bias")],
            name,
            kernel_shape=[side, side],
            strides=[conv.stride, conv.stride],
            pads=[conv.padding] * 4,
        )
        return self.node("Relu", [y], f"{name}.relu") if conv.relu else y


def build(
    subnet: Subnet, image: ImageInput, metadata: Mapping[str, str] | None = None, *, output: str = OUTPUT_NAME
) -> bytes:
    """Return the bytes of an ONNX model.

    Args:
        subnet: the folded network.
        image: the shape of its input; the batch size stays free.
        metadata: strings stored in ``metadata_props``.
        output: ``scores`` (softmax, N x K) or ``features`` (before the head, N x F).
    """
    graph = _Graph()
    x = INPUT_NAME
    if any(subnet.input_mean):
        mean = np.asarray(subnet.input_mean, np.float32).reshape(1, -1, 1, 1)
        x = graph.node("Sub", [x, graph.weight(mean, "mean")], "centred")
    x = graph.conv(x, subnet.stem, "stem")
    for index, block in enumerate(subnet.blocks):
        name = f"block{index}"
        trunk = x if block.shortcut is None else graph.conv(x, block.shortcut, f"{name}.shortcut")
        if block.expand is not None and block.project is not None:
            hidden = graph.conv(x, block.expand, f"{name}.expand")
            branch = graph.conv(hidden, block.project, f"{name}.project")
            trunk = graph.node("Add", [branch, trunk], name)
        x = trunk
    x = graph.conv(x, subnet.neck, "neck")
    x = graph.node("GlobalAveragePool", [x], "pooled")
    x = graph.node("Flatten", [x], FEATURES_NAME, axis=1)
    width = subnet.head_weight.shape[1]
    if output == OUTPUT_NAME:
        inputs = [
            x,
            graph.weight(subnet.head_weight, "head.weight"),
            graph.weight(subnet.head_bias, "head.bias"),
        ]
        x = graph.node("Gemm", inputs, "logits", transB=1)
        graph.node("Softmax", [x], OUTPUT_NAME, axis=1)
        width = subnet.head_weight.shape[0]
    shape: list[str | int | None] = ["N", image.channels, image.height, image.width]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "subnet",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nn-factory",
    )
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString(deterministic=True))
