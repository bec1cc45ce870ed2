"""Write assembler and predictor as ONNX files, so that the HTTP process can ask them without torch.

Legend: B tasks, K classes, M modules, S shares that tell a model's size.
"""

import math

import numpy as np
from torch import nn

from assembler.compile.graph import Graph
from assembler.model import BUDGET_BOUND, LEARNED_BOUND, Assembler, Predictor
from assembler.utility import SMALLEST_BUDGET


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
    affinity = graph.weight(np.exp(assembler.affinity.detach().numpy()))
    pooled = graph.node("Log", graph.node("Div", graph.node("MatMul", "task", affinity), count))
    embedding = graph.weight(assembler.embedding.detach().numpy())
    embedded = graph.node("Div", graph.node("MatMul", "task", embedding), count)
    encoded = _sequence(graph, graph.node("Concat", embedded, level, axis=1), assembler.task)
    learned = graph.node("Mul", graph.node("Tanh", encoded), graph.weight([LEARNED_BOUND]))
    mask = graph.weight(assembler.mask.numpy()[None])
    graph.node("Mul", graph.node("Add", pooled, learned), mask, output="class_term")
    return graph.model(
        {"task": ["B", classes], "budget": ["B", 1]}, {"base": ["B", modules], "class_term": ["B", modules]}
    )


def build_predictor(predictor: Predictor) -> bytes:
    """Return an ONNX model of the predictor.

    Inputs ``task`` B x K, ``shares`` B x S and ``other`` B x 1, output ``accuracy`` B x 1.
    """
    graph = Graph()
    classes = len(predictor.confusion)
    count = _sum(graph, "task", classes)
    pairs = graph.node("MatMul", "task", graph.weight(predictor.confusion.numpy()))
    confused = graph.node("Div", _sum(graph, graph.node("Mul", pairs, "task"), classes), count)
    logarithm = graph.node("Log", graph.node("Add", confused, graph.weight([1e-3])))
    known = graph.node(
        "Concat", "task", logarithm, graph.node("Reciprocal", count), "shares", "other", axis=1
    )
    graph.node("Sigmoid", _sequence(graph, known, predictor.network), output="accuracy")
    return graph.model(
        {"task": ["B", classes], "shares": ["B", predictor.shares], "other": ["B", 1]}, {"accuracy": ["B", 1]}
    )


def _sum(graph: Graph, x: str, width: int) -> str:
    return graph.node("MatMul", x, graph.weight(np.ones((width, 1))))


def _sequence(graph: Graph, x: str, network: nn.Sequential) -> str:
    for layer in network:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            x = graph.node("Gemm", x, graph.weight(weight), graph.weight(bias), transB=1)
        else:
            x = graph.node("Relu", x)
    return x
