"""Assembler: the generative network, (task, budget) -> a utility for every module; and the accuracy predictor.

Both are small enough to be run by onnxruntime beside the weights, see ``compile/network.py``.
Legend: B tasks, K classes, M modules of all blocks together, L blocks.
Source: module assembler of NN-Factory (Xu et al., arXiv 2308.15003); pooling over sets as in Deep Sets
(Zaheer et al., arXiv 1703.06114).
"""

import torch
from torch import Tensor, nn

from supernet.card import Architecture

SMALLEST_BUDGET = 0.02
EMBEDDING = 32
HIDDEN = 128
LOGARITHM_RANGE = 6.0


def task_wise_mask(architecture: Architecture) -> Tensor:
    """Return 1 for every module that may be chosen by class, 0 for those that follow the budget alone, M."""
    return torch.cat([torch.full((b.modules,), float(b.task_wise)) for b in architecture.blocks])


class Assembler(nn.Module):
    """Log-utilities of all modules: a budget term and a class term.

    The class term pools the class-by-module affinity over the task by the logarithm of the mean of
    exponentials, and adds what a set encoder over class embeddings says. It is zero for early blocks.
    """

    mask: Tensor

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        modules = sum(block.modules for block in architecture.blocks)
        self.register_buffer("mask", task_wise_mask(architecture))
        self.worth = nn.Parameter(torch.zeros(modules))
        self.affinity = nn.Parameter(torch.zeros(classes, modules))
        self.embedding = nn.Parameter(0.5 * torch.randn(classes, EMBEDDING))
        self.budget = nn.Sequential(nn.Linear(2, EMBEDDING), nn.ReLU(), nn.Linear(EMBEDDING, modules))
        self.task = nn.Sequential(
            nn.Linear(EMBEDDING + 2, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, modules),
        )
        for network in (self.budget, self.task):
            for parameter in network[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, task: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
        """Return the budget term and the class term, each B x M.

        Args:
            task: B x K, 1 for the classes asked for, else 0; at least one class each.
            budget: B x 1, share of the dense net's cost, 0.02..1.
        """
        level = torch.log(budget) / torch.log(torch.tensor(SMALLEST_BUDGET))
        level = torch.cat([level, level * level], dim=1)
        base = self.worth + self.budget(level)
        count = task.sum(dim=1, keepdim=True)
        pooled = torch.log(task @ torch.exp(self.affinity) / count)
        encoded = self.task(torch.cat([task @ self.embedding / count, level], dim=1))
        return base, self.mask * (pooled + encoded)


def utilities(base: Tensor, class_term: Tensor, weight: float) -> Tensor:
    """Return positive utilities, B x M: exp(budget term + weight x class term), kept in a finite range."""
    return torch.exp(torch.clamp(base + weight * class_term, -LOGARITHM_RANGE, LOGARITHM_RANGE))


class Predictor(nn.Module):
    """Accuracy of the model that gates give for a task.

    It knows how the dense net confuses every pair of classes, and learns what fewer modules do to that.
    """

    confusion: Tensor

    def __init__(self, architecture: Architecture, confusion: Tensor) -> None:
        super().__init__()
        classes = len(confusion)
        self.register_buffer("confusion", confusion)
        self.network = nn.Sequential(
            nn.Linear(classes + 2 + len(architecture.blocks), 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )

    def forward(self, task: Tensor, shares: Tensor) -> Tensor:
        """Return the accuracy, B x 1, 0..1.

        Args:
            task: B x K, 1 for the classes asked for, else 0.
            shares: B x L, share of each block's modules that are on, 0..1.
        """
        count = task.sum(dim=1, keepdim=True)
        confused = ((task @ self.confusion) * task).sum(dim=1, keepdim=True) / count
        known = torch.cat([task, torch.log(confused + 1e-3), 1 / count, shares], dim=1)
        result: Tensor = torch.sigmoid(self.network(known))
        return result


def pair_confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how often class i is taken for class j when only the two are asked for, K x K, zero diagonal.

    Args:
        logits: N x K, of the dense net.
        labels: N; every class occurs.
    """
    classes = logits.shape[1]
    rows = []
    for label in range(classes):
        mine = logits[labels == label]
        rows.append(torch.sigmoid(mine - mine[:, label : label + 1]).mean(dim=0))
    confusion = torch.stack(rows)
    return confusion * (1 - torch.eye(classes))
