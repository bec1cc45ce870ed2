from service.jobs import MOVES
from service.state import DONE, State


def test_states_that_are_never_left_are_those_without_a_move() -> None:
    assert {state for state in State if not MOVES[state]} == DONE


def test_states_are_the_words_of_the_contract() -> None:
    assert " ".join(State) == "queued running cancelling succeeded failed cancelled expired"
