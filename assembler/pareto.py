"""Pareto: which accuracies can be had at which latency, as a check would foretell them; without torch.

Latency and memory of a point are raised by the profile's margins, so that its figures can be posted as limits: a check
of them is met and foretells no lower accuracy.
"""

import math
from dataclasses import dataclass

from assembler.artifact import Frozen, Predicted
from assembler.cost import Cost
from assembler.device import Profile
from assembler.estimate import needed_limits, too_tight
from assembler.propose import Estimator, Proposal, cost, least_cost, propose
from assembler.scenario import Bounds, Survey
from supernet.card import Card
from supernet.gates import full_gates
from supernet.task import Task

# So many latencies are asked about; fewer of supernets with many modules, where each takes longer.
MOST_ASKED, FEWEST_ASKED, ASKED_MODULES = 20, 10, 1500
NOTHING = -1.0
# No latency is asked about once the dense net's accuracy is this near: what is left is far below the predictor's error.
NO_GAIN = 5e-4


class FrontPoint(Frozen):
    """A model that can be had: its figures, and the limits that a scenario asks for it with."""

    predicted: Predicted
    latency_share: float
    side_px: int
    limits: dict[str, float]


class Digests(Frozen):
    """What the figures follow from: digests of supernet and device profile."""

    supernet: str
    profile: str


class Margins(Frozen):
    """By what share figures are raised above what is foretold on average, 0..1."""

    latency_ms: float
    memory_mb: float


class Front(Frozen):
    """Points by rising latency, each more accurate than those before; ``dense`` is the net with all modules on.

    ``accuracy_error`` is by how much a predicted accuracy is off on average, on class sets never trained on.
    """

    device: str
    supernet: str
    task: Task
    digests: Digests
    margins: Margins
    accuracy_error: float
    dense: Predicted
    points: tuple[FrontPoint, ...]

    def within(self, bounds: Bounds) -> "Front":
        """Return the front of the points that keep to bounds; their limits are the bounds, with their own latency."""
        kept = bounds.model_dump(exclude_none=True, exclude_defaults=True)
        points = tuple(
            point.model_copy(update={"limits": {**kept, **point.limits}})
            for point in self.points
            if point.predicted.latency_ms <= (bounds.latency_ms or math.inf)
            and point.predicted.memory_mb <= (bounds.memory_mb or math.inf)
            and point.predicted.size_mb <= (bounds.size_mb or math.inf)
            and point.predicted.accuracy >= (bounds.accuracy_min or 0.0)
        )
        return self.model_copy(update={"points": points})


def front(survey: Survey, card: Card, estimator: Estimator, profile: Profile) -> Front:
    """Return the front of a task on a device, within the survey's bounds on memory and size.

    Its bounds on latency and accuracy are not looked at, see ``Front.within``.

    Args:
        survey: resolved: its classes are in the Card's vocabulary.
        card: of the supernet.
        estimator: of the same supernet.
        profile: of the survey's device, for the same supernet.
    """
    everything = full_gates(card.architecture).counts
    dense = _raised(
        _cost_as_predicted(
            cost(survey, card, everything, profile), estimator.accuracy(survey.task, everything)
        ),
        profile,
    )
    asker = _Asker(survey, card, estimator, profile)
    least = needed_limits(least_cost(asker.scenario(1e-9), card, profile), profile)["latency_ms"]
    points: list[FrontPoint] = []
    for latency_ms in _asked(least, dense.latency_ms, sum(card.architecture.modules)):
        reached = points[-1].predicted.accuracy if points else NOTHING
        if reached > dense.accuracy - NO_GAIN:
            break
        if (found := asker.tightest(latency_ms, reached)) is not None:
            points.append(_point(found, card, profile, dense))
    return Front(
        device=survey.device,
        supernet=card.name,
        task=survey.task,
        digests=Digests(supernet=f"sha256:{card.digest}", profile=f"sha256:{profile.digest}"),
        margins=Margins(latency_ms=profile.latency.margin, memory_mb=profile.memory.margin),
        accuracy_error=card.figures.predictor_error,
        dense=dense,
        points=_undominated(points),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What is proposed for a limit on latency that is no wider than it must be."""

    proposal: Proposal
    latency_ms: float


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks what a check would say of limits on latency."""

    survey: Survey
    card: Card
    estimator: Estimator
    profile: Profile

    def scenario(self, latency_ms: float) -> Survey:
        """Return the survey with a limit on latency beside its bounds on memory and size."""
        bounds = self.survey.limits
        limits = Bounds(latency_ms=latency_ms, memory_mb=bounds.memory_mb, size_mb=bounds.size_mb)
        return self.survey.model_copy(update={"limits": limits})

    def tightest(self, latency_ms: float, accuracy: float) -> _Found | None:
        """Return what is proposed within a latency, and the latency that it takes.

        None means that nothing fits or that it is not more accurate than ``accuracy``.
        """
        found = self._propose(latency_ms)
        if found is None or _rounded(found.predicted.accuracy) <= accuracy:
            return None
        needed = _raised(found.predicted, self.profile.at(found.gates.side)).latency_ms
        if needed < latency_ms:
            # A tighter limit may lead to other modules.
            again = self._propose(needed)
            if again is not None and again.predicted.accuracy >= found.predicted.accuracy:
                return _Found(again, needed)
        return _Found(found, latency_ms)

    def _propose(self, latency_ms: float) -> Proposal | None:
        scenario = self.scenario(latency_ms)
        if too_tight(scenario, self.card, self.estimator, self.profile) is not None:
            return None
        return next(iter(propose(scenario, self.estimator, self.profile)), None)


def _asked(least_ms: float, dense_ms: float, modules: int) -> list[float]:
    """Return the latencies to ask about, from the smallest net's to the dense net's by equal factors."""
    count = max(FEWEST_ASKED, min(MOST_ASKED, ASKED_MODULES // modules))
    factor = max(dense_ms / least_ms, 1.0)
    between = (float(f"{least_ms * factor ** (step / count):.4g}") for step in range(1, count))
    return [least_ms, *between, max(dense_ms, least_ms)]


def _point(found: _Found, card: Card, profile: Profile, dense: Predicted) -> FrontPoint:
    side = found.proposal.gates.side
    raised = _raised(found.proposal.predicted, profile.at(side))
    return FrontPoint(
        predicted=raised.model_copy(update={"latency_ms": found.latency_ms}),
        latency_share=round(found.latency_ms / dense.latency_ms, 4),
        side_px=side or card.architecture.input.height,
        limits={"latency_ms": found.latency_ms},
    )


def _undominated(points: list[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Return points by rising latency, those alone that are more accurate than all quicker ones."""
    kept: list[FrontPoint] = []
    for point in sorted(points, key=lambda one: (one.predicted.latency_ms, -one.predicted.accuracy)):
        if not kept or point.predicted.accuracy > kept[-1].predicted.accuracy:
            kept.append(point)
    return tuple(kept)


def _raised(predicted: Predicted, profile: Profile) -> Predicted:
    """Return figures raised by the profile's margins and rounded so that they can be posted as limits."""
    foretold = Cost(predicted.latency_ms, predicted.memory_mb, predicted.size_mb)
    return Predicted(**needed_limits(foretold, profile), accuracy=_rounded(predicted.accuracy))


def _cost_as_predicted(found: Cost, accuracy: float) -> Predicted:
    return Predicted(
        latency_ms=found.latency_ms, memory_mb=found.memory_mb, size_mb=found.size_mb, accuracy=accuracy
    )


def _rounded(accuracy: float) -> float:
    """Return an accuracy with four digits, never above it."""
    return math.floor(accuracy * 1e4) / 1e4
