"""A graph computes what its nodes say, and the same nodes give the same bytes."""

import numpy as np
import onnx
import onnxruntime
import pytest

from assembler.compile.graph import IR_VERSION, OPSET, Graph

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
MATRIX = np.array([[1.0, -1.0, 0.5], [2.0, 0.0, 0.25]])


def product(metadata: dict[str, str] | None = None) -> bytes:
    """Return a model that multiplies its input, any number of rows, by a matrix, and lays the result out flat."""
    graph = Graph()
    rows = graph.node("MatMul", "x", graph.weight(MATRIX))
    graph.node("Reshape", rows, graph.numbers([-1]), output="y")
    return graph.model({"x": ["batch", 2]}, {"y": [None]}, metadata)


@pytest.mark.parametrize("count", [1, 3])
def test_a_graph_computes_what_its_nodes_say_for_any_batch(count: int) -> None:
    (found,) = onnxruntime.InferenceSession(product()).run(["y"], {"x": X[:count]})
    np.testing.assert_allclose(found, (X[:count] @ MATRIX).ravel(), rtol=1e-6)


def test_attributes_reach_their_node() -> None:
    graph = Graph()
    graph.node("Softmax", "x", output="y", axis=0)
    session = onnxruntime.InferenceSession(graph.model({"x": [3, 2]}, {"y": [3, 2]}))
    (found,) = session.run(None, {"x": X})
    np.testing.assert_allclose(found.sum(axis=0), 1.0, rtol=1e-6)


def test_the_model_passes_the_checker_in_the_versions_it_names() -> None:
    model = onnx.load_from_string(product())
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION


def test_weights_are_kept_as_float32_and_whole_numbers_as_int64() -> None:
    weight, numbers = onnx.load_from_string(product()).graph.initializer
    assert (weight.data_type, numbers.data_type) == (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), MATRIX.astype(np.float32))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(numbers), [-1])


def test_no_two_values_have_one_name() -> None:
    graph = Graph()
    weights = [graph.weight(X), graph.numbers([1]), graph.weight(X), graph.weight(X, "named")]
    nodes = [graph.node("Relu", "x"), graph.node("Relu", "x"), graph.node("Relu", "x", output="y")]
    assert len({*weights, *nodes}) == 7
    assert (weights[-1], nodes[-1]) == ("named", "y")


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert product({"a": "1", "b": "2"}) == product({"a": "1", "b": "2"})


def test_metadata_are_strings_in_the_file() -> None:
    model = onnx.load_from_string(product({"classes": '["é"]'}))
    assert {entry.key: entry.value for entry in model.metadata_props} == {"classes": '["é"]'}
