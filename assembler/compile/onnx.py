"""Write a Subnet as an ONNX file, straight from its arrays.

No tracing and no exporter: a graph of this size is built in a few milliseconds.
Input ``image``: float32 N x C x H x W, pixels 0..255. Output ``scores``: float32 N x K, softmax.
"""

from collections.abc import Mapping

import numpy as np

from assembler.compile.graph import Graph
from assembler.subnet import Conv, DenseBlock, Subnet
from supernet.card import Activation, ImageInput

INPUT_NAME = "image"
OUTPUT_NAME = "scores"
FEATURES_NAME = "features"


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
    graph = Graph()
    x = INPUT_NAME
    if any(subnet.input_mean):
        mean = np.asarray(subnet.input_mean, np.float32).reshape(1, -1, 1, 1)
        x = graph.node("Sub", x, graph.weight(mean, "mean"), output="centred")
    if subnet.shrink is not None:
        x = graph.node("MatMul", graph.weight(subnet.shrink, "shrink.rows"), x, output="shrunk_rows")
        x = graph.node("MatMul", x, graph.weight(subnet.shrink.T, "shrink.columns"), output="shrunk")
    for index, conv in enumerate(subnet.stem):
        x = _conv(graph, x, conv, f"stem{index or ''}")
    for index, block in enumerate(subnet.blocks):
        x = _block(graph, x, block, f"block{index}")
    x = _conv(graph, x, subnet.neck, "neck")
    x = graph.node("GlobalAveragePool", x, output="pooled")
    x = graph.node("Flatten", x, output=FEATURES_NAME, axis=1)
    if output == OUTPUT_NAME:
        weight = graph.weight(subnet.head_weight, "head.weight")
        bias = graph.weight(subnet.head_bias, "head.bias")
        x = graph.node("Gemm", x, weight, bias, output="logits", transB=1)
        if (merge := subnet.merge) is None:
            graph.node("Softmax", x, output=output, axis=1)
        else:
            x = graph.node("Softmax", x, output="every_score", axis=1)
            graph.node("MatMul", x, graph.weight(merge, "merge"), output=output)
    width = subnet.outputs if output == OUTPUT_NAME else subnet.head_weight.shape[1]
    shape: list[str | int | None] = ["N", image.channels, image.height, image.width]
    return graph.model({INPUT_NAME: shape}, {output: ["N", width]}, metadata)


def _block(graph: Graph, x: str, block: DenseBlock, name: str) -> str:
    trunk = x if block.shortcut is None else _conv(graph, x, block.shortcut, f"{name}.shortcut")
    if not block.path:
        return trunk
    for index, conv in enumerate(block.path):
        x = _conv(graph, x, conv, f"{name}.conv{index}")
    return graph.node("Add", x, trunk, output=name) if block.trunk else x


def _conv(graph: Graph, x: str, conv: Conv, name: str) -> str:
    side = conv.weight.shape[-1]
    before, after = conv.padding
    y = graph.node(
        "Conv",
        x,
        graph.weight(conv.weight, f"{name}.weight"),
        graph.weight(conv.bias, f"{name}.bias"),
        output=name,
        kernel_shape=[side, side],
        strides=[conv.stride, conv.stride],
        pads=[before, before, after, after],
        **({"group": conv.groups} if conv.groups > 1 else {}),
    )
    if conv.activation is None:
        return y
    if conv.activation is Activation.RELU:
        return graph.node("Relu", y, output=f"{name}.relu")
    bounds = (graph.weight(bound, f"{name}.{label}") for label, bound in (("least", 0.0), ("most", 6.0)))
    return graph.node("Clip", y, *bounds, output=f"{name}.relu6")
