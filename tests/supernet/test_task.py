"""The outputs of a model are the names of its task, in order, and perhaps one more for all other classes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from supernet.task import Kind, Outputs, Task, outputs_of

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")
GROUPS = {"insect": (0, 1), "mammal": (2, 3, 5)}


def outputs(*names: str, other: bool = False) -> Outputs:
    return outputs_of(Task(kind=Kind.CLASSIFICATION, classes=names, other=other), CLASSES, GROUPS)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """A task of some groups and of some classes that are in none of them."""
    groups = draw(st.lists(st.sampled_from(sorted(GROUPS)), unique=True))
    taken = {CLASSES[row] for name in groups for row in GROUPS[name]}
    classes = draw(st.lists(st.sampled_from(sorted(set(CLASSES) - taken)), unique=True, min_size=1))
    names = tuple(draw(st.permutations([*groups, *classes])))
    return Task(kind=Kind.CLASSIFICATION, classes=names, other=draw(st.booleans()))


def test_outputs_stand_in_the_order_asked_for() -> None:
    found = outputs("fox", "ant", "dog")
    assert found == Outputs(rows=(5, 0, 3), of=(0, 1, 2))
    assert (found.count, found.merged) == (3, None)


def test_a_group_is_one_output_of_all_its_classes() -> None:
    found = outputs("eel", "mammal")
    assert found == Outputs(rows=(4, 2, 3, 5), of=(0, 1, 1, 1))
    assert (found.count, found.merged) == (2, (0, 1, 1, 1))


def test_other_is_the_last_output_of_all_classes_not_named() -> None:
    assert outputs("fox", "insect", other=True) == Outputs(rows=(5, 0, 1, 2, 3, 4), of=(0, 1, 1, 2, 2, 2))


def test_there_is_no_output_for_others_where_every_class_is_named() -> None:
    assert outputs("insect", "mammal", "eel", other=True).count == 3


def test_a_name_of_a_class_and_of_a_group_is_the_class() -> None:
    task = Task(kind=Kind.CLASSIFICATION, classes=("ant", "bee"))
    assert outputs_of(task, CLASSES, {"ant": (2, 3)}).rows == (0, 1)


@given(tasks())
def test_no_class_counts_for_two_outputs_and_with_others_every_class_for_one(task: Task) -> None:
    found = outputs_of(task, CLASSES, GROUPS)
    assert len(found.rows) == len(found.of) == len(set(found.rows))
    assert set(found.of) == set(range(found.count))
    if task.other:
        assert set(found.rows) == set(range(len(CLASSES)))
    else:
        assert found.count == len(task.classes)


@given(tasks())
def test_a_task_comes_back_from_json(task: Task) -> None:
    assert Task.model_validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize(
    "change",
    [{"classes": ["ant", 3]}, {"kind": "dancing"}, {"other": "yes"}, {"labels": {}}, {"classes": None}],
)
def test_what_is_no_task_is_refused(change: dict[str, object]) -> None:
    body = {"kind": "classification", "classes": ["ant"]}
    assert Task.model_validate_json(json.dumps(body)).classes == ("ant",)
    with pytest.raises(ValidationError):
        Task.model_validate_json(json.dumps({**body, **change}))
