"""Write assembler and predictor as ONNX files, so that the HTTP process can ask them without torch.

Legend: B tasks, K classes, M modules, S shares that tell a model's size, R
reference networks.
"""

import math

import numpy as np
from torch import Tensor, nn

from assembler.compile.graph import Graph, Shape
from assembler.model import BUDGET_BOUND, CLASS_SCALE, LEARNED_BOUND, Assembler, Predictor
from assembler.utility import SMALLEST_BUDGET, Array


def build_assembler(assembler: Assembler) -> bytes:
    """Return an ONNX model of the assembler.

    Inputs ``task`` B x K and ``budget`` B x 1, outputs ``base`` and ``class_term``, each B x M.
    """
    graph = Graph()
    classes, modules = assembler.saliency.shape
    level = graph.node("Mul", graph.node("Log", "budget"), graph.weight([1 / math.log(SMALLEST_BUDGET)]))
    level = graph.node("Concat", level, graph.node("Mul", level, level), axis=1)
    worth = graph.weight(assembler.worth.detach().numpy()[None])
    budget = graph.node("Tanh", _sequence(graph, level, assembler.budget))
    graph.node("Add", graph.node("Mul", budget, graph.weight([BUDGET_BOUND])), worth, output="base")
    count = _sum(graph, "task", classes)
    affinity, embedding = np.exp(_numbers(assembler.affinity)), _numbers(assembler.embedding)
    pooled = graph.node("Log", graph.node("Div", graph.node("MatMul", "task", graph.weight(affinity)), count))
    embedded = graph.node("Div", graph.node("MatMul", "task", graph.weight(embedding)), count)
    mine = _suits(graph, assembler, pooled, embedded, level)
    # Of all classes together: constants, the second as often as there are tasks.
    pooled = graph.weight(np.log(affinity.mean(axis=0, keepdims=True)))
    nothing = graph.node("MatMul", "task", graph.weight(np.zeros_like(embedding)))
    embedded = graph.node("Add", nothing, graph.weight(embedding.mean(axis=0, keepdims=True)))
    everybody = _suits(graph, assembler, pooled, embedded, level)
    scale = graph.weight(CLASS_SCALE * _numbers(assembler.mask)[None])
    graph.node("Mul", graph.node("Sub", mine, everybody), scale, output="class_term")
    return graph.model(
        {"task": ["B", classes], "budget": ["B", 1]}, {"base": ["B", modules], "class_term": ["B", modules]}
    )


def _suits(graph: Graph, assembler: Assembler, pooled: str, embedded: str, level: str) -> str:
    encoded = _sequence(graph, graph.node("Concat", embedded, level, axis=1), assembler.task)
    learned = graph.node("Mul", graph.node("Tanh", encoded), graph.weight([LEARNED_BOUND]))
    return graph.node("Add", pooled, learned)


def build_predictor(predictor: Predictor) -> bytes:
    """Return an ONNX model of the predictor.

    Inputs ``fare`` B x 2 R, ``outputs`` B x 1, and ``shares`` B x S; output ``accuracy`` B x 1.
    """
    graph = Graph()
    known = graph.node("Concat", "fare", graph.node("Reciprocal", "outputs"), axis=1)
    size = graph.node("MatMul", "shares", graph.weight(np.abs(_numbers(predictor.size.weight)).T))
    x = graph.node("Tanh", graph.node("Add", _linear(graph, known, predictor.task), size))
    x = graph.node("Tanh", _linear(graph, x, predictor.hidden, positive=True))
    graph.node("Sigmoid", _linear(graph, x, predictor.last, positive=True), output="accuracy")
    inputs: dict[str, Shape] = {
        "fare": ["B", 2 * predictor.references],
        "outputs": ["B", 1],
        "shares": ["B", predictor.shares],
    }
    return graph.model(inputs, {"accuracy": ["B", 1]})


def _sum(graph: Graph, x: str, width: int) -> str:
    return graph.node("MatMul", x, graph.weight(np.ones((width, 1))))


def _sequence(graph: Graph, x: str, network: nn.Sequential) -> str:
    for layer in network:
        x = _linear(graph, x, layer) if isinstance(layer, nn.Linear) else graph.node("Relu", x)
    return x


def _linear(graph: Graph, x: str, layer: nn.Linear, *, positive: bool = False) -> str:
    weight = _numbers(layer.weight)
    used = graph.weight(np.abs(weight) if positive else weight)
    return graph.node("Gemm", x, used, graph.weight(_numbers(layer.bias)), transB=1)


def _numbers(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy()
    return found
