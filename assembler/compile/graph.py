"""Graph: an ONNX graph in the making."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

OPSET = 17
IR_VERSION = 9
PRODUCER = "nn-factory"

Shape = list[str | int | None]
Array = npt.NDArray[np.float32] | npt.NDArray[np.int64]


class Graph:
    """Collects nodes and weights; every method that adds one returns the name of what it gives."""

    def __init__(self) -> None:
        # Filled in place: weights are large, and every message that is put into another one is copied.
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER)
        self._graph = self._model.graph

    def weight(self, array: npt.ArrayLike, name: str = "") -> str:
        """Add a constant, kept as float32."""
        return self._constant(np.asarray(array, np.float32), TensorProto.FLOAT, name)

    def numbers(self, values: Sequence[int]) -> str:
        """Add constant whole numbers, int64."""
        return self._constant(np.array(values, np.int64), TensorProto.INT64)

    def _constant(self, array: Array, kind: int, name: str = "") -> str:
        name = name or f"constant{len(self._graph.initializer)}"
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        self._graph.initializer.add(
            name=name, data_type=kind, dims=array.shape, raw_data=little_endian.tobytes()
        )
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operator with one output."""
        name = output or f"value{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def model(
        self,
        inputs: Mapping[str, Shape],
        outputs: Mapping[str, Shape],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Finish the model, once, and return its bytes; the same graph gives the same bytes.

        Args:
            inputs: name -> shape, a string is a free dimension; all float32.
            outputs: likewise.
            metadata: strings stored in ``metadata_props``.
        """
        self._graph.name = "network"
        self._graph.input.extend(_values(inputs))
        self._graph.output.extend(_values(outputs))
        self._model.opset_import.append(helper.make_opsetid("", OPSET))
        helper.set_model_props(self._model, dict(metadata or {}))
        return bytes(self._model.SerializeToString(deterministic=True))


def _values(shapes: Mapping[str, Shape]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
