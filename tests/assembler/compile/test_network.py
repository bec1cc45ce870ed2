"""The ONNX twins of assembler and predictor answer as torch does."""

import numpy as np
import onnxruntime
import pytest
import torch

from assembler.compile.network import build_assembler, build_predictor
from assembler.model import Assembler, Predictor
from tests.shapes import SMALL


@pytest.fixture
def tasks() -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    tasks = (torch.rand((40, 6), generator=draw) < 0.5).float()
    tasks[:, 0] = 1.0
    return tasks


def test_the_assembler_answers_the_same_without_torch(tasks: torch.Tensor) -> None:
    torch.manual_seed(0)
    assembler = Assembler(SMALL, 6)
    for parameter in assembler.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    budget = torch.rand((40, 1)) * 0.98 + 0.02
    session = onnxruntime.InferenceSession(build_assembler(assembler))
    answers = session.run(["base", "class_term"], {"task": tasks.numpy(), "budget": budget.numpy()})
    with torch.no_grad():
        expected = assembler(tasks, budget)
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, wanted.numpy(), atol=1e-5)


def test_modules_of_early_blocks_do_not_depend_on_the_classes(tasks: torch.Tensor) -> None:
    torch.manual_seed(0)
    assembler = Assembler(SMALL, 6)
    for parameter in assembler.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    _, class_term = assembler(tasks, torch.full((40, 1), 0.1))
    early = SMALL.blocks[0].modules
    assert not SMALL.blocks[0].task_wise
    assert torch.equal(class_term[:, :early], torch.zeros(40, early))
    assert class_term[:, early:].std(dim=0).min() > 0.01


def test_the_predictor_answers_the_same_without_torch(tasks: torch.Tensor) -> None:
    torch.manual_seed(0)
    predictor = Predictor(SMALL, torch.rand((6, 6)) * (1 - torch.eye(6)))
    shares = torch.rand((40, predictor.shares))
    other = (torch.rand((40, 1)) < 0.5).float()
    session = onnxruntime.InferenceSession(build_predictor(predictor))
    (answer,) = session.run(None, {"task": tasks.numpy(), "shares": shares.numpy(), "other": other.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(answer, predictor(tasks, shares, other).numpy(), atol=1e-5)


def test_the_predictor_answers_the_same_without_torch_for_groups(tasks: torch.Tensor) -> None:
    torch.manual_seed(0)
    confusion = torch.rand(6, 6).fill_diagonal_(0.0)
    predictor = Predictor(SMALL, confusion)
    apart = torch.ones(40, 6, 6)
    apart[::2, 1:3, 1:3] = 0.0
    shares, other = torch.rand(40, predictor.shares), (torch.rand(40, 1) < 0.5).float()
    session = onnxruntime.InferenceSession(build_predictor(predictor, groups=True))
    asked = {"task": tasks, "shares": shares, "other": other, "apart": apart}
    (answer,) = session.run(["accuracy"], {name: value.numpy() for name, value in asked.items()})
    with torch.no_grad():
        expected, plain = predictor(tasks, shares, other, apart), predictor(tasks, shares, other)
    np.testing.assert_allclose(answer, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(expected[1::2], plain[1::2], atol=1e-6)
    both = (tasks[:, 1] * tasks[:, 2] > 0) & (torch.arange(40) % 2 == 0)
    assert (expected[both] - plain[both]).abs().max() > 1e-3
