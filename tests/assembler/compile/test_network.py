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


def test_the_predictor_answers_the_same_without_torch() -> None:
    torch.manual_seed(0)
    predictor = Predictor(SMALL, 3)
    facts = {
        "fare": torch.randn(40, 6),
        "outputs": torch.randint(2, 7, (40, 1)).float(),
        "shares": torch.rand(40, predictor.shares),
    }
    session = onnxruntime.InferenceSession(build_predictor(predictor))
    (answer,) = session.run(None, {name: value.numpy() for name, value in facts.items()})
    with torch.no_grad():
        np.testing.assert_allclose(answer, predictor(*facts.values()).numpy(), atol=1e-5)
