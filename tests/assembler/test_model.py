"""What the assembler learns cannot run away, and the predictor knows confused pairs."""

import torch

from assembler.model import BUDGET_BOUND, CLASS_SCALE, LEARNED_BOUND, Assembler, Predictor, pair_confusion
from tests.shapes import SMALL


def test_terms_stay_bounded_however_far_learning_goes() -> None:
    torch.manual_seed(0)
    assembler = Assembler(SMALL, 6)
    torch.nn.init.normal_(assembler.saliency, 0.0, 0.5)
    torch.nn.init.normal_(assembler.worth, 0.0, 5.0)
    with torch.no_grad():
        for parameter in assembler.parameters():
            parameter.normal_(0.0, 1e4)
    tasks = (torch.rand(50, 6) < 0.5).float()
    tasks[:, 0] = 1.0
    base, class_term = assembler(tasks, torch.rand(50, 1) * 0.9 + 0.05)
    assert (base - assembler.worth).abs().max() <= BUDGET_BOUND + 1e-5
    bound = 2 * CLASS_SCALE * (assembler.saliency.abs().max() + 2 * LEARNED_BOUND)
    assert class_term.abs().max() <= bound


def test_the_class_term_follows_the_saliency_of_the_classes_asked_for() -> None:
    torch.manual_seed(0)
    assembler = Assembler(SMALL, 6)
    assembler.saliency[2, 8] = 2.0
    tasks = torch.eye(6)
    _, class_term = assembler(tasks, torch.full((6, 1), 0.1))
    assert int(class_term[:, 8].argmax()) == 2
    assert int(class_term[2].argmax()) == 8
    both = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]])
    _, shared = assembler(both, torch.full((1, 1), 0.1))
    assert 0 < shared[0, 8] < class_term[2, 8]


def test_the_class_term_is_nothing_for_all_classes_together() -> None:
    torch.manual_seed(0)
    assembler = Assembler(SMALL, 6)
    torch.nn.init.normal_(assembler.saliency, 0.0, 0.5)
    with torch.no_grad():
        for parameter in assembler.parameters():
            parameter.normal_(0.0, 0.5)
    _, class_term = assembler(torch.ones(1, 6), torch.full((1, 1), 0.1))
    assert class_term.abs().max() < 1e-5


def test_pairs_that_a_net_confuses_are_told() -> None:
    logits = torch.zeros(30, 3)
    labels = torch.arange(30) % 3
    logits[torch.arange(30), labels] = 8.0
    logits[labels == 0, 1] = 8.0
    confusion = pair_confusion(logits, labels)
    assert torch.allclose(confusion.diagonal(), torch.zeros(3))
    assert float(confusion[0, 1]) == 0.5
    assert float(confusion[0, 2]) < 0.01


def test_predicted_accuracy_is_a_share_and_grows_with_every_module() -> None:
    torch.manual_seed(0)
    predictor = Predictor(SMALL, 2)
    fare, outputs = torch.randn(40, 4), torch.full((40, 1), 3.0)
    shares = torch.rand(40, predictor.shares)
    found = predictor(fare, outputs, shares)
    assert found.shape == (40, 1)
    assert bool(((found > 0) & (found < 1)).all())
    for share in range(predictor.shares):
        more = shares.clone()
        more[:, share] += 0.1
        assert bool((predictor(fare, outputs, more) >= found).all())
