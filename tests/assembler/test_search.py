"""Found is what trying everything finds, within every limit, and in time."""

import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assembler.cost import Cost, cost_of
from assembler.device import LatencyFit, Machine, MemoryFit, Profile, Quality
from assembler.search import Caps, Utilities, cheapest, front, search
from supernet.card import Architecture
from supernet.gates import Gates
from tests.shapes import SMALL

CLASSES = 6
# Multiples of powers of two add without rounding, so that ties are ties.
exact = st.integers(0, 12).map(lambda n: n / 8)
rough = st.floats(0, 5)
small = st.floats(0, 0.5)


@st.composite
def profiles(draw: st.DrawFn, step: st.SearchStrategy[float] = small) -> Profile:
    rows = [draw(st.tuples(*[step] * block.modules)) for block in SMALL.blocks]
    return Profile(
        device="local",
        machine=Machine(runtime="r", runtime_version="1", cpu="c", isa=()),
        threads=1,
        supernet="0",
        measured_at=datetime(2026, 1, 1, tzinfo=UTC),
        latency=LatencyFit(
            table=tuple(tuple(itertools.accumulate((0.0, *row))) for row in rows),
            scale=draw(st.sampled_from([0.0, 1.0, 1.0, 0.93])),
            offset_ms=draw(st.sampled_from([0.0, 0.25])),
            margin=draw(st.sampled_from([0.0, 0.07])),
        ),
        memory=MemoryFit(
            base_mb=draw(st.sampled_from([0.0, 0.5])),
            per_size=draw(st.sampled_from([0.0, 1.0, 3.1])),
            per_activation=draw(st.sampled_from([0.0, 1.3, 20.0])),
            margin=draw(st.sampled_from([0.0, 0.03])),
        ),
        quality=Quality(
            nets=1, latency_mape=0, latency_within_tenth=1, memory_nets=1, memory_mape=0, duration_s=1
        ),
    )


@st.composite
def caps_for(draw: st.DrawFn, profile: Profile) -> Caps:
    """Caps between a little below the least and the most there is; some are just what a net needs."""
    full = cost_of(SMALL, [b.modules for b in SMALL.blocks], CLASSES, profile)
    least = cheapest(SMALL, profile, CLASSES)
    exactly = draw(st.tuples(*(st.integers(0, b.modules) for b in SMALL.blocks)))
    same = cost_of(SMALL, exactly, CLASSES, profile)

    def cap(name: str, margin: float) -> float | None:
        low, high = getattr(least, name), getattr(full, name)
        between = st.floats(-0.05, 1.05).map(lambda part: max(low + (high - low) * part, 1e-6))
        told = draw(st.none() | between | st.just(getattr(same, name)))
        return None if told is None else told * (1 + margin)

    return Caps(
        cap("latency_ms", profile.latency.margin), cap("memory_mb", profile.memory.margin), cap("size_mb", 0)
    )


def utilities_of(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[list[np.ndarray]]:
    rows = [st.lists(numbers, min_size=b.modules, max_size=b.modules).map(np.array) for b in SMALL.blocks]
    return st.tuples(*rows).map(list)


def score(utilities: Utilities, gates: Gates) -> float:
    return sum(float(u[list(active)].sum()) for u, active in zip(utilities, gates.active, strict=True))


def best_of_all(utilities: Utilities, profile: Profile, caps: Caps) -> tuple[tuple[int, ...], float] | None:
    """Try every count of every block; the rule for ties included."""

    def rank(counts: tuple[int, ...]) -> tuple[float, Cost, tuple[int, ...]]:
        cost = cost_of(SMALL, counts, CLASSES, profile)
        best = [sorted(u.tolist(), reverse=True)[:n] for u, n in zip(utilities, counts, strict=True)]
        table = sum(row[n] for row, n in zip(profile.latency.table, counts, strict=True))
        return -sum(sum(b) for b in best), table, cost.size_mb, tuple(-n for n in counts)

    every = itertools.product(*(range(b.modules + 1) for b in SMALL.blocks))
    fitting = [c for c in every if caps.admit(cost_of(SMALL, c, CLASSES, profile), profile)]
    found = min(fitting, key=rank, default=None)
    return None if found is None else (found, -rank(found)[0])


@given(data=st.data(), utilities=utilities_of(rough), profile=profiles())
def test_nothing_within_the_limits_scores_more(
    data: st.DataObject, utilities: list[np.ndarray], profile: Profile
) -> None:
    caps = data.draw(caps_for(profile))
    expected = best_of_all(utilities, profile, caps)
    found = search(utilities, SMALL, profile, caps, CLASSES)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert score(utilities, found) == pytest.approx(expected[1], rel=1e-9)
    assert caps.admit(cost_of(SMALL, found.counts, CLASSES, profile), profile)


@given(data=st.data(), utilities=utilities_of(exact), profile=profiles(st.sampled_from([0.0, 0.125, 0.25])))
def test_ties_go_to_the_cheaper_then_to_the_earlier(
    data: st.DataObject, utilities: list[np.ndarray], profile: Profile
) -> None:
    caps = data.draw(caps_for(profile))
    expected = best_of_all(utilities, profile, caps)
    found = search(utilities, SMALL, profile, caps, CLASSES)
    assert (found and found.counts) == (expected and expected[0])


def test_of_equally_useful_modules_the_earlier_are_taken(profile: Profile, shipped: Architecture) -> None:
    utilities = [np.ones(b.modules) for b in shipped.blocks]
    gates = search(utilities, shipped, profile, Caps(latency_ms=0.1), 10)
    assert gates is not None
    assert all(active == tuple(range(len(active))) for active in gates.active)
    assert gates.size > 0


def test_modules_of_no_use_stay_off(profile: Profile, shipped: Architecture) -> None:
    utilities = [np.zeros(b.modules) for b in shipped.blocks]
    utilities[3][5] = 1.0
    gates = search(utilities, shipped, profile, Caps(), 10)
    assert gates is not None
    assert gates.active == ((), (), (), (5,), (), (), (), ())


@given(data=st.data(), utilities=utilities_of(rough), profile=profiles(), looser=st.floats(1, 2))
def test_a_looser_limit_never_gives_a_worse_score(
    data: st.DataObject, utilities: list[np.ndarray], profile: Profile, looser: float
) -> None:
    caps = data.draw(caps_for(profile))
    name = data.draw(st.sampled_from(["latency_ms", "memory_mb", "size_mb"]))
    before = search(utilities, SMALL, profile, caps, CLASSES)
    told = getattr(caps, name)
    after = search(utilities, SMALL, profile, replace(caps, **{name: told and told * looser}), CLASSES)
    if before is not None:
        assert after is not None
        assert score(utilities, after) >= score(utilities, before) * (1 - 1e-12)


@given(data=st.data(), utilities=utilities_of(rough), profile=profiles())
def test_the_front_is_what_single_searches_find(
    data: st.DataObject, utilities: list[np.ndarray], profile: Profile
) -> None:
    caps = data.draw(caps_for(profile))
    latencies = data.draw(st.lists(st.floats(0.01, 4), min_size=1, max_size=5))
    found = front(utilities, SMALL, profile, latencies, CLASSES, caps=caps)
    for latency, gates in zip(latencies, found, strict=True):
        alone = search(utilities, SMALL, profile, replace(caps, latency_ms=latency), CLASSES)
        assert (gates is None) == (alone is None)
        if gates is not None and alone is not None:
            assert score(utilities, gates) == pytest.approx(score(utilities, alone), rel=1e-9)


def test_the_least_there_is_can_be_had_exactly(profile: Profile, shipped: Architecture) -> None:
    utilities = [np.ones(b.modules) for b in shipped.blocks]
    least = cheapest(shipped, profile, 10)
    caps = Caps(
        least.latency_ms * (1 + profile.latency.margin),
        least.memory_mb * (1 + profile.memory.margin),
        least.size_mb,
    )
    assert search(utilities, shipped, profile, caps, 10) == Gates(((),) * 8)
    for name in ("latency_ms", "memory_mb", "size_mb"):
        below = replace(caps, **{name: getattr(caps, name) * 0.999})
        assert search(utilities, shipped, profile, below, 10) is None


def test_strings_in_the_file_count_against_its_size(profile: Profile, shipped: Architecture) -> None:
    utilities = [np.ones(b.modules) for b in shipped.blocks]
    caps = Caps(size_mb=0.2)
    some = search(utilities, shipped, profile, caps, 10, metadata_bytes=0)
    fewer = search(utilities, shipped, profile, caps, 10, metadata_bytes=100_000)
    assert some is not None
    assert fewer is not None
    assert fewer.size < some.size


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_utilities_that_are_no_utilities_are_refused(
    bad: float, profile: Profile, shipped: Architecture
) -> None:
    utilities = [np.ones(b.modules) for b in shipped.blocks]
    utilities[2][1] = bad
    with pytest.raises(ValueError, match="finite and not negative"):
        search(utilities, shipped, profile, Caps(), 10)


@pytest.mark.parametrize("kind", ["random", "equal", "like cost"])
def test_a_search_takes_milliseconds(kind: str, profile: Profile, shipped: Architecture) -> None:
    draw = np.random.default_rng(5)
    made = {
        "random": lambda i, m: draw.random(m),
        "equal": lambda i, m: np.ones(m),
        "like cost": lambda i, m: np.diff(profile.latency.table[i]) * (1 + 0.05 * draw.random(m)),
    }[kind]
    took = []
    for latency in np.linspace(0.03, 0.3, 15):
        utilities = [made(i, b.modules) for i, b in enumerate(shipped.blocks)]
        start = time.perf_counter()
        search(utilities, shipped, profile, Caps(float(latency), 2.5, 0.7), 10)
        took.append(time.perf_counter() - start)
    # About 3 ms on a quiet core; what must never come is the explosion of an exhaustive search.
    assert sorted(took)[len(took) // 2] < 0.03
