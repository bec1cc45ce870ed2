"""Losses look at the task's classes alone."""

import torch
from torch.nn import functional as F

from supernet.losses import features_loss, task_loss

LOGITS = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
TASK = torch.tensor([1, 3, 4])
LABELS = torch.tensor([1, 3, 4] * 4)


def test_logits_of_other_classes_do_not_matter() -> None:
    changed = LOGITS.clone()
    changed[:, [0, 2, 5]] = 100.0
    assert torch.equal(task_loss(LOGITS, LABELS, TASK, LOGITS), task_loss(changed, LABELS, TASK, changed))


def test_without_a_teacher_it_is_cross_entropy_over_the_task() -> None:
    expected = F.cross_entropy(LOGITS[:, TASK], torch.tensor([0, 1, 2] * 4))
    assert torch.isclose(task_loss(LOGITS, LABELS, TASK), expected)


def test_a_teacher_of_the_same_opinion_leaves_half_the_cross_entropy() -> None:
    assert torch.isclose(task_loss(LOGITS, LABELS, TASK, LOGITS), 0.5 * task_loss(LOGITS, LABELS, TASK))
    assert task_loss(LOGITS, LABELS, TASK, -LOGITS) > task_loss(LOGITS, LABELS, TASK, LOGITS)


def test_features_that_are_the_teachers_cost_nothing_and_their_mean_costs_one() -> None:
    teacher = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    assert features_loss(teacher, teacher) == 0.0
    assert torch.isclose(features_loss(teacher.mean(dim=0).expand(8, 5), teacher), torch.tensor(1.0))
    assert torch.isfinite(features_loss(teacher[:1] + 1, teacher[:1]))
