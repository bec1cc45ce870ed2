"""What a generated model is compared with at its own shape or latency, all of it cut out of the same supernet.

Every rival is tested on the test images of its classes. ``*_refit`` has a head fitted for the task as a generated
model has; without it the head keeps the supernet's rows.
Legend: K classes of the supernet, M modules of all blocks together, L blocks.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from assembler.candidate import cut, head_accuracy, most_images, refitted, run_all
from assembler.device import Profile
from assembler.images import TaskImages, task_images
from assembler.propose import Estimator
from assembler.search import Caps, most_useful, search
from assembler.utility import PORTFOLIO
from supernet.checkpoint import Checkpoint
from supernet.data import DataSet, Split
from supernet.evaluate import as_batch
from supernet.gates import Gates, full_gates, prefix_gates
from supernet.model import calibrate
from supernet.task import Outputs

SALIENCY_IMAGES = 32


class Rivals:
    """Rivals of one checkpoint on one device."""

    def __init__(self, checkpoint: Checkpoint, estimator: Estimator, profile: Profile, data: DataSet) -> None:
        self.checkpoint = checkpoint
        self.estimator = estimator
        self.profile = profile
        self.data = data
        self._saliency = full_saliency(checkpoint)

    def test_images(self, classes: tuple[int, ...]) -> Split:
        """Return the test images of a task, labelled by the place of their class in it."""
        return self.data.test.of_classes(list(classes))

    def dense(self, classes: tuple[int, ...]) -> dict[str, float]:
        """Return the accuracy of the dense net, restricted to a task."""
        plain, refit = self._accuracies(
            classes, self._images(classes), full_gates(self.checkpoint.card.architecture)
        )
        return {"dense": plain, "dense_refit": refit}

    def at(self, classes: tuple[int, ...], shape: Gates, wrong: tuple[int, ...]) -> dict[str, float]:
        """Return the accuracies of all rivals that have the latency of a shape.

        Args:
            classes: of the task.
            shape: gates of the generated model, of which only the counts and the side count.
            wrong: another task, whose gates are tried on this one.
        """
        images, everything = self._images(classes), tuple(range(len(self.data.classes)))
        right, wrong_gates = (self.gates_for(task, PORTFOLIO[-1], shape) for task in (classes, wrong))
        plain, refit = self._accuracies(classes, images, self.gates_for(everything, 0.0, shape))
        found = {
            "agnostic": plain,
            "agnostic_refit": refit,
            "right_gates": self._accuracies(classes, images, right)[1],
            "wrong_gates": self._accuracies(classes, images, wrong_gates)[1],
            "overlap_with_wrong": right.overlap(wrong_gates),
        }
        if (pruned := self.pruned(classes, shape)) is not None:
            found["pruned"] = self._accuracies(classes, images, pruned)[0]
        if (uniform := self.uniform(shape)) is not None:
            found["uniform_refit"] = self._accuracies(classes, images, uniform)[1]
        return found

    def gates_for(self, task: tuple[int, ...], weight: float, shape: Gates) -> Gates:
        """Return the modules that the assembler chooses for a task within a shape."""
        (values,) = self.estimator.utilities(task, self._budget(shape), (weight,))
        return Gates(most_useful(values, shape.counts).active, shape.side)

    def pruned(self, classes: tuple[int, ...], shape: Gates) -> Gates | None:
        """Return the modules of most saliency for a task in the dense net, within the latency of a shape."""
        modules = self.checkpoint.card.architecture.modules
        values = np.split(self._saliency[list(classes)].sum(axis=0), np.cumsum(modules)[:-1])
        architecture, profile = self.checkpoint.card.architecture.at(shape.side), self.profile.at(shape.side)
        caps = Caps(latency_ms=profile.latency.predict_ms(shape.counts) * (1 + profile.latency.margin))
        found = search(values, architecture, profile, caps, len(classes))
        return None if found is None else Gates(found.active, shape.side)

    def uniform(self, shape: Gates) -> Gates | None:
        """Return the first modules of every block, the same share of each, as many as the latency of a shape allows."""
        latency, modules = self.profile.latency_at(shape.side), self.checkpoint.card.architecture.modules
        allowed = latency.predict_ms(shape.counts) * (1 + 1e-9)
        shares = [tuple(round(n * share) for n in modules) for share in np.linspace(0, 1, 101)]
        within = [counts for counts in shares if latency.predict_ms(counts) <= allowed]
        return prefix_gates(within[-1], shape.side) if within else None

    def _budget(self, shape: Gates) -> float:
        latency, nothing = self.profile.latency_at(shape.side), (0,) * len(shape.counts)
        least, most = (
            latency.predict_ms(nothing),
            latency.predict_ms(self.checkpoint.card.architecture.modules),
        )
        return (latency.predict_ms(shape.counts) - least) / (most - least)

    def _images(self, classes: tuple[int, ...]) -> TaskImages:
        outputs = Outputs(classes, tuple(range(len(classes))))
        return task_images(outputs, self.checkpoint.calibration, self.checkpoint.validation)

    def _accuracies(self, classes: tuple[int, ...], images: TaskImages, gates: Gates) -> tuple[float, float]:
        """Return the accuracy with the supernet's head, and with one fitted for the task."""
        test, found = self.test_images(classes), cut(gates, self.checkpoint.supernet, images)
        most = most_images(self.checkpoint.card.architecture, gates, len(classes))
        known = run_all(found.session, test.images)
        plain, refit = (
            round(head_accuracy(known, test.labels, subnet), 4)
            for subnet in (found.subnet, refitted(found, images, most))
        )
        return plain, refit


def full_saliency(checkpoint: Checkpoint) -> npt.NDArray[np.float64]:
    """Return |d loss of class / d gate| of the dense net, K x M.

    Source: first-order importance of gates (Molchanov et al., arXiv 1906.10771).
    """
    supernet, calibration = checkpoint.supernet, checkpoint.calibration
    gates, device = full_gates(checkpoint.card.architecture), supernet.mean.device
    statistics = calibrate(supernet, gates, as_batch(calibration.images[:256], device))
    rows = []
    for label in range(len(checkpoint.card.classes)):
        batch = as_batch(calibration.images[calibration.labels == label][:SALIENCY_IMAGES], device)
        strengths = [torch.ones(n, device=device, requires_grad=True) for n in gates.counts]
        logits = supernet(batch, gates, statistics, strengths)
        loss = F.cross_entropy(logits, torch.full((len(batch),), label, device=device))
        rows.append(torch.cat(torch.autograd.grad(loss, strengths)).abs().double().cpu().numpy())
    return np.stack(rows)
