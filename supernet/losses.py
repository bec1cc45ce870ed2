"""Losses of a sub-network on a task.

Legend: B images, K classes of the supernet, T classes of the task.
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
