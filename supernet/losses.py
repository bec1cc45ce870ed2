"""Losses of a sub-network on a task.

Legend: B images, F features, K classes of the supernet, T classes of the task.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def task_loss(logits: Tensor, labels: Tensor, classes: Tensor, teacher: Tensor | None = None) -> Tensor:
    """Return 0.5 cross-entropy + 0.5 KL to the teacher, both over the task's classes alone.

    Args:
        logits: B x K.
        labels: B, in 0..K-1, all of them among ``classes``.
        classes: T indices, int64.
        teacher: logits of the full net, B x K; None leaves the cross-entropy alone.
    """
    place = torch.full((logits.shape[1],), -1, dtype=torch.int64, device=logits.device)
    place[classes] = torch.arange(len(classes), device=logits.device)
    mine = logits[:, classes]
    hard = F.cross_entropy(mine, place[labels])
    if teacher is None:
        return hard
    target = F.log_softmax(teacher[:, classes], dim=1)
    soft = F.kl_div(F.log_softmax(mine, dim=1), target, log_target=True, reduction="batchmean")
    return 0.5 * hard + 0.5 * soft


def features_loss(features: Tensor, teacher: Tensor) -> Tensor:
    """Return how far features are from the full net's, as a share of how far those are from their mean; squares.

    Few images say more by a thousand features each than by their labels.
    Source: hints (Romero et al., arXiv 1412.6550).

    Args:
        features: B x F.
        teacher: B x F, of the same images.
    """
    spread = (teacher - teacher.mean(dim=0)).square().sum()
    return (features - teacher).square().sum() / spread.clamp(min=1e-6)
