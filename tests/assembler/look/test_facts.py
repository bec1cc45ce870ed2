"""What is said of a confusion matrix follows from its counts, and the curve rises to the dense net."""

from itertools import pairwise

import numpy as np

from assembler.look.facts import Look, Pair, accuracy_by_class, confused_pairs, curve_of, worst_classes
from assembler.look.page import page_of
from assembler.propose import Estimator
from supernet.checkpoint import Checkpoint
from supernet.gates import full_gates
from tests.assembler.look.seen import HOSTILE, of_many, parsed, rows
from tests.shapes import SMALL
from tests.small import CLASSES

CONFUSION = np.array([[8, 2, 0], [5, 15, 0], [0, 0, 4]])


def test_accuracy_is_the_share_of_a_class_that_is_right() -> None:
    np.testing.assert_allclose(accuracy_by_class(CONFUSION), [0.8, 0.75, 1.0])


def test_only_classes_with_wrong_images_are_among_the_worst() -> None:
    assert worst_classes(CONFUSION, 5) == [1, 0]
    assert worst_classes(CONFUSION, 1) == [1]


def test_pairs_are_sorted_by_their_share_of_the_true_class() -> None:
    assert confused_pairs(CONFUSION, 5) == [Pair(1, 0, 5, 0.25), Pair(0, 1, 2, 0.2)]
    assert len(confused_pairs(CONFUSION, 1)) == 1


def test_the_curve_grows_in_latency_to_the_dense_net_and_no_model_is_on_it_twice(look: Look) -> None:
    latencies = [proposal.predicted.latency_ms for proposal in look.curve]
    assert all(less < more for less, more in pairwise(latencies))
    assert len({proposal.gates for proposal in look.curve}) == len(look.curve)
    assert look.curve[-1].gates == full_gates(SMALL)


def test_a_class_without_images_has_no_accuracy_and_comes_last(look: Look) -> None:
    many = of_many(look, 17)
    assert np.isnan(accuracy_by_class(many.confusion)[1])
    assert 1 not in worst_classes(many.confusion, 17)
    assert rows(parsed(many), ".//section[@id='worst']//table")[-1] == [HOSTILE[1], "0", "0", "-"]


def test_a_net_that_is_always_right_has_nothing_to_show(look: Look) -> None:
    perfect = np.diag([40] * 6)
    assert worst_classes(perfect, 5) == []
    assert confused_pairs(perfect, 5) == []
    page = page_of(Look(look.card, "test images", perfect, look.curve, {}))
    assert page.count("No image is taken for another class.") == 2
    assert "100.0 % right" in page


def test_a_name_that_no_scenario_may_have_is_no_hindrance(checkpoint: Checkpoint) -> None:
    card = checkpoint.card.model_copy(update={"classes": ("", "x" * 300, *CLASSES[2:])})
    assert curve_of(Estimator(checkpoint.folder, card))
