import threading

from assembler.pareto import Front
from service.fronts import Fronts


def made() -> Front:
    return Front.model_construct()


def test_a_front_is_made_once() -> None:
    fronts, first = Fronts(), made()
    assert fronts.get("a", lambda: first) is first
    assert fronts.get("a", made) is first


def test_those_asked_for_last_are_kept() -> None:
    fronts = Fronts(most=2)
    first = fronts.get("a", made)
    second = fronts.get("b", made)
    assert fronts.get("a", made) is first
    fronts.get("c", made)
    assert fronts.get("a", made) is first
    assert fronts.get("b", made) is not second


def test_many_threads_may_ask_at_once() -> None:
    fronts, found = Fronts(most=3), []

    def ask(start: int) -> None:
        found.extend(fronts.get((start + step) % 5, made) for step in range(200))

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1600
