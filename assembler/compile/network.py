"""Write assembler and predictor as ONNX files, so that the HTTP process can ask them without torch.

Legend: B tasks, K classes, M modules, L blocks.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from assembler.compile.onnx import IR_VERSION, OPSET
from assembler.model import SMALLEST_BUDGET, Assembler, Predictor


class _Graph:
    """Collects nodes and weights; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, array: npt.ArrayLike) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def apply(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def count(self, task: str) -> str:
        return self.apply("MatMul", task, self.constant(np.ones((self.classes, 1))))

    classes: int = 0

    def sequence(self, x: str, network: nn.Sequential) -> str:
        for layer in network:
            if isinstance(layer, nn.Linear):
                weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
                x = self.apply("Gemm", x, self.constant(weight), self.constant(bias), transB=1)
            else:
                x = self.apply("Relu", x)
        return x

    def model(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        def values(shapes: dict[str, int]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", w]) for n, w in shapes.items()]

        graph = helper.make_graph(self.nodes, "network", values(inputs), values(outputs), self.weights)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nn-factory",
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def build_assembler(assembler: Assembler) -> bytes:
    """Return an ONNX model with inputs ``task`` B x K, ``budget`` B x 1 and outputs ``base``, ``class_term`` B x M."""
    graph = _Graph()
    classes, modules = assembler.affinity.shape
    graph.classes = classes
    level = graph.apply("Log", "budget")
    level = graph.apply("Mul", level, graph.constant([1 / math.log(SMALLEST_BUDGET)]))
    level = graph.apply("Concat", level, graph.apply("Mul", level, level), axis=1)
    worth = graph.constant(assembler.worth.detach().numpy()[None])
    graph.apply("Add", graph.sequence(level, assembler.budget), worth, output="base")
    count = graph.count("task")
    affinity = graph.constant(np.exp(assembler.affinity.detach().numpy()))
    pooled = graph.apply("Log", graph.apply("Div", graph.apply("MatMul", "task", affinity), count))
    embedding = graph.constant(assembler.embedding.detach().numpy())
    embedded = graph.apply("Div", graph.apply("MatMul", "task", embedding), count)
    encoded = graph.sequence(graph.apply("Concat", embedded, level, axis=1), assembler.task)
    mask = graph.constant(assembler.mask.numpy()[None])
    graph.apply("Mul", graph.apply("Add", pooled, encoded), mask, output="class_term")
    return graph.model({"task": classes, "budget": 1}, {"base": modules, "class_term": modules})


def build_predictor(predictor: Predictor, blocks: int) -> bytes:
    """Return an ONNX model with inputs ``task`` B x K, ``shares`` B x L and the output ``accuracy`` B x 1."""
    graph = _Graph()
    classes = len(predictor.confusion)
    graph.classes = classes
    count = graph.count("task")
    confused = graph.apply("MatMul", "task", graph.constant(predictor.confusion.numpy()))
    confused = graph.count(graph.apply("Mul", confused, "task"))
    confused = graph.apply("Add", graph.apply("Div", confused, count), graph.constant([1e-3]))
    known = ["task", graph.apply("Log", confused), graph.apply("Reciprocal", count), "shares"]
    raw = graph.sequence(graph.apply("Concat", *known, axis=1), predictor.network)
    graph.apply("Sigmoid", raw, output="accuracy")
    return graph.model({"task": classes, "shares": blocks}, {"accuracy": 1})
