"""Choose: of the proposals for a scenario the one that is best on a few images and in time as it runs here."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from assembler.candidate import Candidate, Cut, cores, cut, finish, preferred
from assembler.cost import macs
from assembler.device import Profile
from assembler.images import TaskImages
from assembler.measure import ModelMeasurement
from assembler.propose import (
    Estimator,
    Portfolio,
    Proposal,
    affordable,
    in_order,
    near_ladder,
    portfolio,
    portfolios,
)
from assembler.scenario import Scenario
from assembler.search import Caps
from assembler.timing import BOLD, CAREFUL, RETRIES, SMALL_MACS, SMALL_RETRIES, Timed, scaled, tightened
from supernet.checkpoint import Checkpoint
from supernet.gates import Gates

# Larger networks take too long to cut out once more.
MOST_RAISED_MACS = 3e7


@dataclass(frozen=True, slots=True)
class Choice:
    """A finished Candidate and the Proposal it was made of."""

    candidate: Candidate
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class _Offer:
    """The proposals of one side, those of one shape first, the caps that led to them, and how often those fell."""

    proposals: Portfolio
    caps: Caps
    fell: int = 0
    in_small_steps: bool = False

    @property
    def gates(self) -> Gates:
        return self.proposals[0].gates


class Chooser:
    """Makes choices for one scenario; what it has cut out once, it keeps."""

    def __init__(
        self,
        scenario: Scenario,
        checkpoint: Checkpoint,
        estimator: Estimator,
        profile: Profile,
        images: TaskImages,
        caps: Caps,
        timed: Timed | None,
    ) -> None:
        """Ask for proposals, and cut nothing yet.

        Args:
            scenario: resolved.
            checkpoint: where models are cut out.
            estimator: of the same checkpoint.
            profile: of the scenario's device.
            images: of the scenario's task.
            caps: that proposals keep to.
            timed: says what keeps to the limits as it runs here; None takes everything as foretold.
        """
        self._scenario, self._checkpoint, self._estimator = scenario, checkpoint, estimator
        self._profile, self._images, self._timed = profile, images, timed
        self._card = checkpoint.card
        self._cuts: dict[Gates, Cut] = {}
        self._took_up = False
        found = portfolios(scenario, estimator, profile, caps)
        self._offers = {proposals[0].gates.side: self._first_offer(proposals, caps) for proposals in found}

    def choose(self) -> Choice | None:
        """Return the best proposal, None where there is none left.

        The one that is best on a few validation images is timed. If it is quicker than foretold, and not large, what
        else fits on its side takes its place once, where that is foretold to be better and in time. If it is late, the
        caps of its side of the image are lowered, and what they lead to stands against the other sides: a network that
        is a little too slow does not rule out a smaller one on the same side. That is done until one is in time, or
        every side was late three times; then the one that misses its limits least is returned.
        """
        late: list[_Offer] = []
        while self._offers:
            best = self._best()
            if self._keeps(best.gates):
                self._take_up(best)
                return self._finished(self._offers)
            assert self._timed is not None
            late.append(best)
            predicted, in_small_steps = best.proposals[0].predicted, best.in_small_steps
            caps = self._timed.tightened(best.caps, best.gates, predicted, in_small_steps=in_small_steps)
            self._offer(best.gates.side, caps, best.fell + 1, in_small_steps=in_small_steps)
        if not late:
            return None
        least = min(late, key=lambda offer: self._excess(offer.gates))
        return self._finished({least.gates.side: least})

    def lower(self, choice: Choice, measurement: ModelMeasurement) -> None:
        """Offer less on the side of a model that missed its limits when it was measured at last."""
        side, predicted = choice.proposal.gates.side, choice.proposal.predicted
        if side in self._offers:
            caps = self._offers[side].caps
            self._offer(
                side, tightened(caps, self._scenario.limits, measurement, predicted, self._profile), 0
            )

    def _first_offer(self, proposals: Portfolio, caps: Caps) -> _Offer:
        """Return some proposals, or in their place those of more latency where these are small.

        Small networks grow in large steps: what a step is worth is lost where the profile errs a little.
        """
        timed = self._timed is not None and caps.latency_ms is not None
        if timed and self._work(proposals[0]) <= SMALL_MACS:
            bold, side = scaled(caps, BOLD / CAREFUL), proposals[0].gates.side
            found = portfolio(self._scenario, self._estimator, self._profile, bold, side)
            if self._work(found[0]) <= SMALL_MACS and self._is_near_ladder(found[0]):
                return _Offer(found, bold, in_small_steps=True)
        return _Offer(proposals, caps)

    def _work(self, proposal: Proposal) -> int:
        gates = proposal.gates
        return macs(self._card.architecture.at(gates.side), gates.counts, 1)

    def _is_near_ladder(self, proposal: Proposal) -> bool:
        """Whether the side is one that networks of the size were trained at."""
        return near_ladder(self._card.architecture, self._card.raises, proposal.gates)

    def _take_up(self, best: _Offer) -> None:
        """Offer more on the side of a network that is in time and quicker than foretold, where that is in time too.

        That is tried once; the network itself stays, in case that it turns out to be better, or more is late at last.
        """
        if self._timed is None or self._took_up:
            return
        self._took_up = True
        gates, predicted = best.gates, best.proposals[0].predicted
        if (caps := self._timed.raised(best.caps, gates, predicted)) is None:
            return
        found = portfolio(self._scenario, self._estimator, self._profile, caps, gates.side)
        if (
            found
            and (more := found[0]).gates.counts != gates.counts
            and more.predicted.accuracy >= predicted.accuracy
            and self._work(more) <= MOST_RAISED_MACS
            and self._is_near_ladder(more)
            and self._keeps(more.gates)
        ):
            self._offers[gates.side] = _Offer((*found, best.proposals[0]), caps, best.fell)

    def _offer(self, side: int | None, caps: Caps, fell: int, *, in_small_steps: bool = False) -> None:
        """Offer what keeps to lower caps on a side, nothing of it any more where they fell too often."""
        del self._offers[side]
        if fell < (SMALL_RETRIES if in_small_steps else RETRIES) and (
            found := portfolio(self._scenario, self._estimator, self._profile, caps, side)
        ):
            self._offers[side] = _Offer(found, caps, fell, in_small_steps)

    def _best(self) -> _Offer:
        """Return the side that is best on a few validation images; one that is alone is not looked at."""
        if len(self._offers) == 1:
            return next(iter(self._offers.values()))
        return self._offers[
            self._ranked([offer.proposals[:1] for offer in self._offers.values()])[0].gates.side
        ]

    def _ranked(self, offered: Iterable[Portfolio]) -> list[Proposal]:
        """Cut all out that is offered; return it, the best first as ``preferred`` says."""
        sides = self._card.architecture.every_side
        largest_first = sorted(offered, key=lambda mine: sides.index(mine[0].gates.side))
        found = in_order(largest_first, self._estimator.pieces)
        every = affordable(found, self._card.architecture)
        missing = [proposal.gates for proposal in every if proposal.gates not in self._cuts]
        with ThreadPoolExecutor(cores()) as pool:
            made = pool.map(lambda gates: cut(gates, self._checkpoint.supernet, self._images), missing)
            self._cuts.update(zip(missing, made, strict=True))
        return [every[place] for place in preferred([self._cuts[proposal.gates] for proposal in every])]

    def _finished(self, offers: Mapping[int | None, _Offer]) -> Choice:
        """Finish the best that is offered; where it misses the accuracy floor, the others too, and return the best.

        Where several sides are offered, those that are late are left out.
        """
        floor = self._scenario.limits.accuracy_min or 0.0
        refit, choices = self._estimator.pieces.refit, list[Choice]()
        for proposal in self._ranked(offer.proposals for offer in offers.values()):
            if len(offers) > 1 and not self._keeps(proposal.gates):
                continue
            found = finish(
                self._cuts[proposal.gates],
                self._card.architecture,
                self._images,
                refit=refit,
                score=floor > 0,
            )
            choices.append(Choice(found, proposal))
            if (found.accuracy or 0.0) >= floor:
                return choices[-1]
        return max(choices, key=lambda choice: choice.candidate.accuracy or 0.0)

    def _keeps(self, gates: Gates) -> bool:
        return self._timed is None or self._timed.keeps(gates)

    def _excess(self, gates: Gates) -> float:
        return 0.0 if self._timed is None else self._timed.excess(gates)
