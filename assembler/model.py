"""Assembler: the generative network, (task, budget) -> a utility for every module; and the accuracy predictor.

Both are small enough to be run by onnxruntime beside the weights, see ``compile/network.py``.
Legend: B tasks, K classes, M modules of all blocks together, L blocks, S shares that tell a model's size, R
reference networks.
Source: module assembler of NN-Factory (Xu et al., arXiv 2308.15003); pooling over sets as in Deep Sets
(Zaheer et al., arXiv 1703.06114).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assembler.utility import SMALLEST_BUDGET, Array, utilities
from supernet.card import Architecture

EMBEDDING = 32
HIDDEN = 128
FORETELLING = 48
LEARNED_BOUND = 0.5
# Of the class term: at 2 the gates of ten kinds of clothes overlap by 0.6-0.7 at full weight, at no loss.
CLASS_SCALE = 2.0
# Less than half a step of the ladder: neighbours may change places, shapes far from it are never asked for.
BUDGET_BOUND = 0.25


def task_wise_mask(architecture: Architecture) -> Tensor:
    """Return 1 for every module that may be chosen by class, 0 for those that follow the budget alone, M."""
    return torch.cat([torch.full((b.modules,), float(b.task_wise)) for b in architecture.blocks])


class Assembler(nn.Module):
    """Log-utilities of all modules: a budget term and a class term.

    The budget term is a module's worth, which follows from the order that networks grow in (``ladder.py``), and a
    learned part of the budget; ``raises`` says how many modules are on when the image grows, ``closeness`` which
    classes its training takes for neighbours. The class term pools
    the class-by-module affinity over the task by the logarithm of the mean of exponentials, and adds what a set
    encoder over class embeddings says; it is what the task has above all classes together, for whom it is zero, and
    zero for early blocks.
    What is learned of both is bounded: a straight-through gradient always points the same way, and unbounded terms
    grow until the same modules win for every task.
    """

    mask: Tensor
    worth: Tensor
    raises: Tensor
    saliency: Tensor
    closeness: Tensor

    def __init__(self, architecture: Architecture, classes: int) -> None:
        super().__init__()
        self.modules_of_blocks = architecture.modules
        modules = sum(self.modules_of_blocks)
        self.register_buffer("mask", task_wise_mask(architecture))
        self.register_buffer("worth", torch.zeros(modules))
        self.register_buffer("raises", torch.zeros(len(architecture.sides), dtype=torch.int64))
        self.register_buffer("saliency", torch.zeros(classes, modules))
        self.register_buffer("closeness", torch.zeros(classes, classes))
        self.shift = nn.Parameter(torch.zeros(classes, modules))
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

    @property
    def affinity(self) -> Tensor:
        """How much every module is worth to every class, K x M: measured saliency plus a learned, bounded shift."""
        return self.saliency + LEARNED_BOUND * torch.tanh(self.shift)

    def forward(self, task: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
        """Return the budget term and the class term, each B x M.

        Args:
            task: B x K, 1 for the classes asked for, else 0; at least one class each.
            budget: B x 1, share of the dense net's cost, 0.02..1.
        """
        level = torch.log(budget) / torch.log(torch.tensor(SMALLEST_BUDGET))
        level = torch.cat([level, level * level], dim=1)
        base = self.worth + BUDGET_BOUND * torch.tanh(self.budget(level))
        more = self._suits(task, level) - self._suits(torch.ones_like(task), level)
        return base, CLASS_SCALE * self.mask * more

    def by_budget(self, budget: float) -> Array:
        """Return the utilities of all modules for a budget, 0..1, and all classes, M."""
        with torch.no_grad():
            level = torch.tensor([[max(SMALLEST_BUDGET, budget)]])
            base, class_term = self(torch.ones(1, len(self.saliency)), level)
        return utilities(base.numpy()[0], class_term.numpy()[0], 0.0, self.modules_of_blocks)

    def _suits(self, task: Tensor, level: Tensor) -> Tensor:
        """Return how well every module suits the classes asked for, B x M, arguments as in ``forward``."""
        count = task.sum(dim=1, keepdim=True)
        pooled = torch.log(task @ torch.exp(self.affinity) / count)
        encoded = self.task(torch.cat([task @ self.embedding / count, level], dim=1))
        return pooled + LEARNED_BOUND * torch.tanh(encoded)


class Predictor(nn.Module):
    """Accuracy of the model that gates give for a task; it never falls when a model gets more modules.

    It knows how some networks from small to dense fare on the task, see ``references.py``, and learns what other sizes
    do. Weights on the way from a model's size to its accuracy count by their absolute value.
    Source: monotone networks by positive weights (Sill, Monotonic Networks, NIPS 1997).
    """

    def __init__(self, architecture: Architecture, references: int) -> None:
        super().__init__()
        self.references = references
        self.shares = len(architecture.blocks) + bool(architecture.sides)
        self.task = nn.Linear(2 * references + 1, FORETELLING)
        self.size = nn.Linear(self.shares, FORETELLING, bias=False)
        self.hidden = nn.Linear(FORETELLING, FORETELLING)
        self.last = nn.Linear(FORETELLING, 1)

    def forward(self, fare: Tensor, outputs: Tensor, shares: Tensor) -> Tensor:
        """Return the accuracy, B x 1, 0..1.

        Args:
            fare: B x 2 R, see ``References.fare``.
            outputs: B x 1, how many there are: classes, groups of classes, perhaps one for all others.
            shares: B x S, see ``utility.shares_of``.
        """
        known = torch.cat([fare, 1 / outputs], dim=1)
        x = torch.tanh(self.task(known) + F.linear(shares, self.size.weight.abs()))
        x = torch.tanh(F.linear(x, self.hidden.weight.abs(), self.hidden.bias))
        result: Tensor = torch.sigmoid(F.linear(x, self.last.weight.abs(), self.last.bias))
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
