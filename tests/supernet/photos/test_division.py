"""Division: no image is lost or shared, repeats go, and the draw is the same every time."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.photos.division import Sample, divide, shortcomings, without_repeats
from supernet.photos.findings import Kind


def samples_of(*rows: tuple[str, str, str]) -> list[Sample]:
    """Return a sample for every split, class and text that stands for its pixels."""
    return [
        Sample(number, split, name, f"{split}/{name}/{number}", pixels.encode())
        for number, (split, name, pixels) in enumerate(rows)
    ]


def many(split: str, name: str, count: int) -> list[tuple[str, str, str]]:
    return [(split, name, f"{split} {name} {number}") for number in range(count)]


any_samples = st.lists(
    st.tuples(
        st.sampled_from(["train", "val", "test"]), st.sampled_from("abc"), st.sampled_from("0123456789")
    )
).map(lambda rows: samples_of(*sorted(rows, key=lambda row: ["train", "val", "test"].index(row[0]))))


@given(any_samples)
def test_every_image_is_kept_or_named_and_no_pixels_are_kept_twice(samples: list[Sample]) -> None:
    kept, findings = without_repeats(samples)
    names = [sample.name for sample in kept] + [finding.name for finding in findings]
    assert sorted(names) == sorted(sample.name for sample in samples)
    assert len({sample.digest for sample in kept}) == len(kept)
    classes_of: dict[bytes, set[str]] = {}
    for sample in samples:
        classes_of.setdefault(sample.digest, set()).add(sample.class_name)
    assert {sample.digest for sample in kept} == {k for k, found in classes_of.items() if len(found) == 1}


@given(
    st.dictionaries(st.text(max_size=3), st.tuples(st.integers(4, 60), st.integers(0, 9), st.integers(0, 9))),
    st.sampled_from([(), ("train",), ("train", "val"), ("train", "test"), ("train", "val", "test")]),
    st.integers(0, 5),
)
def test_splitting_loses_no_image_and_shares_none(
    counts: dict[str, tuple[int, int, int]], splits: tuple[str, ...], seed: int
) -> None:
    rows = []
    for name, of_split in counts.items():
        for split, count in zip(("train", "val", "test"), of_split, strict=True):
            if split in splits or (not splits and split == "train"):
                rows += many(split if splits else "", name, count)
    samples = samples_of(*rows)
    divided, _ = divide(samples, splits, seed)
    assert [(one.number, one.name, one.class_name) for one in divided] == [
        (one.number, one.name, one.class_name) for one in samples
    ]
    assert divide(samples, splits, seed)[0] == divided
    for name in counts:
        there = Counter(sample.split for sample in divided if sample.class_name == name)
        assert there["train"] >= 1
        assert there["val"] >= 1
        assert there["test"] >= 1 or splits
        assert there.keys() <= {"train", "val", "test"}


def test_15_percent_of_every_class_each_are_held_out() -> None:
    samples = samples_of(*many("", "cat", 100), *many("", "dog", 4))
    divided, findings = divide(samples, (), 0)
    assert Counter((one.class_name, one.split) for one in divided) == {
        ("cat", "train"): 70,
        ("cat", "val"): 15,
        ("cat", "test"): 15,
        ("dog", "train"): 2,
        ("dog", "val"): 1,
        ("dog", "test"): 1,
    }
    assert [(found.kind, found.name) for found in findings] == [(Kind.DIVIDED, "val and test")]


def test_the_draw_depends_on_the_seed_and_not_on_other_classes() -> None:
    cats = many("", "cat", 40)
    alone = [one.split for one in divide(samples_of(*cats), (), 0)[0]]
    beside = [one.split for one in divide(samples_of(*cats, *many("", "dog", 30)), (), 0)[0]]
    assert beside[:40] == alone
    assert [one.split for one in divide(samples_of(*cats), (), 1)[0]] != alone
    assert [one.split for one in divide(samples_of(*many("", "dog", 40)), (), 0)[0]] != alone
    assert alone != sorted(alone, key=alone.index)


def test_a_missing_val_is_drawn_out_of_train_also_where_the_given_one_is_the_test() -> None:
    rows = many("train", "cat", 20) + many("test", "cat", 5)
    divided, findings = divide(samples_of(*rows), ("train", "test"), 0)
    assert Counter(one.split for one in divided) == {"train": 17, "val": 3, "test": 5}
    assert [one.split for one in divided[20:]] == ["test"] * 5
    assert [(found.kind, found.name) for found in findings] == [(Kind.DIVIDED, "val")]
    rows = many("train", "cat", 20) + many("val", "cat", 5)
    divided, findings = divide(samples_of(*rows), ("train", "val"), 0)
    assert Counter(one.split for one in divided) == {"train": 17, "val": 3, "test": 5}
    assert [one.split for one in divided[20:]] == ["test"] * 5
    assert [(found.kind, found.name) for found in findings] == [(Kind.DIVIDED, "test"), (Kind.DIVIDED, "val")]


def test_a_class_without_images_in_val_gets_some_of_train_moved() -> None:
    rows = (
        many("train", "cat", 20) + many("train", "dog", 20) + many("val", "dog", 2) + many("test", "dog", 1)
    )
    divided, findings = divide(samples_of(*rows), ("train", "val", "test"), 0)
    there = Counter((one.class_name, one.split) for one in divided)
    assert (there["cat", "train"], there["cat", "val"]) == (17, 3)
    assert (there["dog", "train"], there["dog", "val"]) == (20, 2)
    assert [(found.kind, str(found)) for found in findings] == [
        (Kind.MOVED, "cat (3 of 20)"),
        (Kind.UNTESTED, "cat"),
    ]


@pytest.mark.parametrize(
    ("rows", "kept", "kind"),
    [
        ([("train", "cat", "x"), ("train", "cat", "x")], [0], Kind.REPEATED),
        ([("train", "cat", "x"), ("val", "cat", "x")], [1], Kind.LEAKED),
        ([("train", "cat", "x"), ("test", "cat", "x")], [1], Kind.LEAKED),
        ([("val", "cat", "x"), ("test", "cat", "x")], [1], Kind.LEAKED),
        ([("train", "cat", "x"), ("train", "dog", "x")], [], Kind.CLASHING),
        ([("train", "cat", "x"), ("test", "dog", "x")], [], Kind.CLASHING),
    ],
)
def test_the_same_pixels_are_kept_once(rows: list[tuple[str, str, str]], kept: list[int], kind: Kind) -> None:
    found, findings = without_repeats(samples_of(*rows))
    assert [sample.number for sample in found] == kept
    assert {finding.kind for finding in findings} == {kind}
    assert len(findings) == 2 - len(kept)
    other = rows.index(rows[-1]) if kept != [0] else 0
    assert f"as {'/'.join(rows[other][:2])}/{other}" in findings[0].detail


def test_too_few_images_are_told_with_their_counts() -> None:
    rows = many("", "cat", 4) + many("", "dog", 3)
    found = shortcomings(samples_of(*rows), ("cat", "dog", "eel"), ())
    assert [(finding.kind, str(finding)) for finding in found] == [
        (Kind.FEW_IMAGES, "dog (3 in all)"),
        (Kind.FEW_IMAGES, "eel (0 in all)"),
    ]


def test_given_splits_need_two_images_in_train() -> None:
    rows = [row for name in ("cat", "dog") for row in many("val", name, 3)]
    rows += many("train", "cat", 2) + many("train", "dog", 1) + many("test", "eel", 9)
    found = shortcomings(samples_of(*rows), ("cat", "dog", "eel"), ("train", "val", "test"))
    assert [(finding.kind, str(finding)) for finding in found] == [
        (Kind.FEW_IMAGES, "dog (4 in all, 1 in train)"),
        (Kind.NOT_IN_TRAIN, "eel (9 in val or test)"),
    ]


def test_one_class_is_too_few() -> None:
    found = shortcomings(samples_of(*many("", "cat", 9)), ("cat",), ())
    assert [(finding.kind, finding.name) for finding in found] == [(Kind.FEW_CLASSES, "cat")]
