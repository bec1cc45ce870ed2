from hypothesis import given
from hypothesis import strategies as st

from service.progress import Progress


def test_a_phase_ends_when_the_next_begins() -> None:
    progress = Progress()
    progress.begin("one")
    assert progress.phases == [{"name": "one", "state": "running", "duration_ms": None}]
    progress.begin("two")
    first, second = progress.phases
    assert (first["name"], first["state"], second["state"]) == ("one", "succeeded", "running")
    assert first["duration_ms"] >= 0


def test_the_phase_in_which_a_job_fails_is_marked() -> None:
    progress = Progress()
    progress.begin("one")
    progress.begin("two")
    progress.end(succeeded=False)
    progress.end()
    assert [phase["state"] for phase in progress.phases] == ["succeeded", "failed"]


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=30))
def test_the_share_only_rises_and_stays_below_one(names: list[str]) -> None:
    progress = Progress()
    shares = []
    for name in names:
        progress.begin(name)
        shares.append(progress.share)
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] < 1


def test_a_long_phase_moves_the_share_as_it_goes_on() -> None:
    progress = Progress()
    shares = []
    for name in ("one", "two"):
        progress.begin(name)
        for along in (0.0, 0.5, 0.99):
            progress.go_on(along)
            shares.append(progress.share)
    assert shares == sorted(set(shares))
