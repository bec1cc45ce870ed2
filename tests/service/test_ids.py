import time

import pytest

from service.ids import first_id, is_id, new_id


def test_ids_carry_their_type_and_are_recognised() -> None:
    made = new_id("job")
    assert made.startswith("job_")
    assert is_id(made, "job")
    assert not is_id(made, "mdl")


def test_ids_sort_by_the_time_they_were_made() -> None:
    first = new_id("job")
    time.sleep(0.002)
    assert first < new_id("job")


def test_ids_of_one_millisecond_sort_by_the_order_they_were_made_in() -> None:
    made = [new_id("job") for _ in range(5000)]
    assert made == sorted(set(made))
    assert all(is_id(one, "job") for one in made)


def test_the_first_id_of_a_time_sorts_before_all_from_then_on_and_after_all_before() -> None:
    before = new_id("job")
    time.sleep(0.002)
    first = first_id("job", time.time())
    assert is_id(first, "job")
    assert before < first < new_id("job")
    assert first_id("job", -5.0) == first_id("job", 0.0) == "job_" + "0" * 32


@pytest.mark.parametrize(
    "text", ["", "job_", "job_" + "0" * 31, "job_" + "G" * 32, "job_" + "0" * 32 + "\n", "../x"]
)
def test_other_texts_are_not_ids(text: str) -> None:
    assert not is_id(text, "job")
