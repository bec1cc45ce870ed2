"""Graph: an ONNX graph in the making."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9
PRODUCER = "nn-factory"

Shape = list[str | int | None]


class Graph:
    """Collects nodes and weights; every method that adds one returns the name of what it gives."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, array: npt.ArrayLike, name: str = "") -> str:
        """Add a constant, kept as float32."""
        name = name or f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def numbers(self, values: Sequence[int]) -> str:
        """Add constant whole numbers, int64."""
        name = f"numbers{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operator with one output."""
        name = output or f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def model(
        self,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the bytes of the finished model; the same graph gives the same bytes.

        Args:
            inputs: name -> shape, a string is a free dimension; all float32.
            outputs: likewise.
            metadata: strings stored in ``metadata_props``.
        """
        graph = helper.make_graph(self._nodes, "network", _values(inputs), _values(outputs), self._weights)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name=PRODUCER)
        helper.set_model_props(model, dict(metadata or {}))
        return bytes(model.SerializeToString(deterministic=True))


def _values(shapes: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
