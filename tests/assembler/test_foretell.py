"""The accuracy predictor never falls with more modules, and is tested on class sets that it was not fitted on."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assembler.foretell import BudgetLadder, Foretold, _fit, foretell, grouped
from assembler.model import Assembler, Predictor
from assembler.nominal import nominal_profile
from assembler.propose import near_ladder
from supernet.data import DataSet
from supernet.task import Kind, Task, outputs_of
from tests.shapes import SMALL
from tests.small import CLASSES, small_images, small_supernet
from tests.working import result_of

PAIRS, UNSEEN = 20, 4
DATA = DataSet(
    "stripes",
    CLASSES,
    small_images(20, 1),
    small_images(20, 2),
    small_images(2, 3),
    groups=(0, 0, 1, 1, 2, 1),
    group_names=("insect", "mammal", "fish"),
)
GROUPS = {"insect": (0, 1), "mammal": (2, 3, 5), "fish": (4,)}

class_sets = st.lists(st.integers(0, 5), unique=True, min_size=2).map(lambda found: tuple(sorted(found)))


def foretold(before: int) -> Foretold:
    """Return what is foretold; ``before`` is the state that torch's own generator happens to be in."""
    torch.manual_seed(0)
    assembler = Assembler(SMALL, len(CLASSES))
    torch.nn.init.normal_(assembler.saliency, 0.0, 1.0)
    supernet = small_supernet()
    torch.manual_seed(before)
    work = foretell(
        supernet,
        BudgetLadder(assembler.by_budget, tuple(assembler.raises.tolist())),
        nominal_profile(SMALL),
        DATA,
        pairs=PAIRS,
        per_class=(15, 20),
        seed=0,
    )
    return result_of(work)


@pytest.fixture(scope="module")
def found() -> Foretold:
    return foretold(before=1)


def asked(
    found: Foretold, classes: tuple[int, ...], counts: tuple[int, ...], side: int, *, other: bool
) -> tuple[torch.Tensor, ...]:
    """Return what the predictor is asked with."""
    task = Task(kind=Kind.CLASSIFICATION, classes=tuple(CLASSES[c] for c in classes), other=other)
    outputs = outputs_of(task, CLASSES, {})
    fare = torch.from_numpy(found.references.fare(outputs, other=other))[None]
    shares = torch.tensor(
        [[*np.divide(counts, SMALL.modules), side / SMALL.input.height]], dtype=torch.float32
    )
    return fare, torch.tensor([[float(outputs.count)]]), shares


def test_a_fifth_of_the_models_is_of_unseen_class_sets(found: Foretold) -> None:
    assert found.unseen == UNSEEN
    assert 0.0 < found.error < 0.5


@pytest.mark.parametrize("raises", [(2, 5), (0, 0), ()])
def test_models_are_drawn_at_the_sides_that_are_proposed(raises: tuple[int, ...]) -> None:
    utilities = np.random.default_rng(0).uniform(0.1, 1.0, sum(SMALL.modules)).astype(np.float32)
    ladder, profile = BudgetLadder(lambda budget: utilities, raises), nominal_profile(SMALL)
    drawn = [ladder.any_near(np.random.default_rng(seed), SMALL, profile) for seed in range(60)]
    assert all(near_ladder(SMALL, raises, gates) for gates in drawn)
    assert len({gates.side for gates in drawn}) > 1
    assert len({gates.size for gates in drawn}) > 5


def test_with_a_module_more_or_a_larger_side_accuracy_never_falls(found: Foretold) -> None:
    sides = (*SMALL.sides[::-1], SMALL.input.height)
    shapes = list(product(*(range(n + 1) for n in SMALL.modules), range(len(sides))))

    @given(st.sampled_from(shapes), st.integers(0, 3), class_sets, st.booleans())
    def check(shape: tuple[int, ...], place: int, classes: tuple[int, ...], other: bool) -> None:
        more = (*shape[:place], min(shape[place] + 1, max(shapes)[place]), *shape[place + 1 :])
        with torch.no_grad():
            small, large = (
                float(found.predictor(*asked(found, classes, (a, b, c), sides[side], other=other)))
                for a, b, c, side in (shape, more)
            )
        assert small <= large + 1e-6

    check()


def test_all_modules_are_foretold_to_be_better_than_none(found: Foretold) -> None:
    with torch.no_grad():
        none = found.predictor(*asked(found, (0, 3), (0, 0, 0), 8, other=False))
        every = found.predictor(*asked(found, (0, 3), SMALL.modules, 16, other=False))
    assert float(none) < float(every)


def test_the_same_seed_foretells_the_same_whatever_was_drawn_before(found: Foretold) -> None:
    again = foretold(before=2)
    assert again.error == found.error
    for name, tensor in found.predictor.state_dict().items():
        assert torch.equal(again.predictor.state_dict()[name], tensor), name


def fitted(accuracy_of_unseen: float | None) -> tuple[Predictor, float, int, torch.Tensor]:
    """Return what is fitted on models whose accuracy follows from their size, its error, and their accuracies.

    Args:
        accuracy_of_unseen: of all that are unseen; None lets it follow from their size too.
    """
    draw = torch.Generator().manual_seed(0)
    fare, outputs = torch.randn((80, 4), generator=draw), torch.full((80, 1), 3.0)
    shares = torch.rand((80, 4), generator=draw)
    unseen = (torch.arange(80) < 20).float()[:, None]
    accuracy = 0.4 + 0.5 * shares.mean(dim=1, keepdim=True)
    if accuracy_of_unseen is not None:
        accuracy = torch.where(unseen > 0, torch.tensor(accuracy_of_unseen), accuracy)
    torch.manual_seed(0)
    predictor = Predictor(SMALL, 2)
    rows = torch.cat([unseen, accuracy, fare, outputs, shares], dim=1)
    return predictor, *_fit(predictor, rows), accuracy


def test_the_error_is_that_on_unseen_class_sets_which_are_never_fitted_on() -> None:
    right, small, count, accuracy = fitted(None)
    wrong, large, same, _ = fitted(0.05)
    assert count == same == 20
    assert small < 0.03
    assert large == pytest.approx(float(accuracy[:20].mean()) - 0.05, abs=0.03)
    for name, tensor in right.state_dict().items():
        assert torch.equal(wrong.state_dict()[name], tensor), name


@given(st.integers(0, 1000), class_sets)
def test_groups_that_are_asked_for_stand_for_classes_drawn_and_there_are_two_names(
    seed: int, classes: tuple[int, ...]
) -> None:
    names = grouped(np.random.default_rng(seed), classes, CLASSES, GROUPS)
    rows = [GROUPS[name] if name in GROUPS else (CLASSES.index(name),) for name in names]
    together = [row for members in rows for row in members]
    assert len(set(names)) == len(names) >= 2
    assert len(set(together)) == len(together)
    assert set(classes) <= set(together)
    assert all(set(members) & set(classes) for members in rows)


def test_about_half_of_the_classes_are_asked_for_by_their_group() -> None:
    draw = np.random.default_rng(0)
    apart = {name: (place,) for place, name in enumerate(("a", "b", "c", "d", "e", "f"))}
    names = [name for _ in range(200) for name in grouped(draw, range(6), CLASSES, apart)]
    assert 0.45 < np.mean([name in apart for name in names]) < 0.55
