"""The report is short, complete where a person has to act, and fit for a terminal."""

import pytest

from supernet.photos.findings import Finding, FolderReport, Kind, in_order, is_class_name, shown


def report(*findings: Finding) -> FolderReport:
    counts = {"train": {"cat": 30, "dog": 8}, "val": {"cat": 3, "dog": 2}}
    return FolderReport(counts, (40, 30, 9, 90), in_order(findings))


def test_figures_are_told() -> None:
    assert report().lines() == [
        "2 classes, 43 usable images: train 38, val 5",
        "images a class: 10 (dog) to 33 (cat), 3.3 times as many",
        "sides of images: 9 px smallest, 30 median, 90 largest",
    ]


def test_ten_examples_of_a_kind_are_shown_in_order() -> None:
    found = report(
        *(Finding(Kind.BROKEN, f"cat/{number:02}.png", "cut\noff") for number in range(12, -1, -1))
    )
    lines = found.lines()[3:]
    assert lines[0] == "broken images, skipped: 13"
    assert lines[1] == "  cat/00.png (cut off)"
    assert lines[10] == "  cat/09.png (cut off)"
    assert lines[11:] == ["  and 3 more"]
    assert not found.refused


def test_what_refuses_comes_first_and_classes_with_too_few_images_are_all_named() -> None:
    few = [Finding(Kind.FEW_IMAGES, f"class {number:02}", "1 in all") for number in range(30)]
    found = report(Finding(Kind.BROKEN, "x.png"), *few)
    assert found.refused
    assert found.lines()[1:31] == [f"  class {number:02} (1 in all)" for number in range(30)]
    assert "more" not in "".join(found.lines())


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\udcffb", "a\0b", "a\u202eb", ""])
def test_a_name_cannot_write_to_the_terminal(name: str) -> None:
    assert shown(name).isprintable()
    assert len(shown(name)) > len(name)
    assert str(Finding(Kind.BAD_NAME, name)).encode()


def test_a_long_name_keeps_its_ends() -> None:
    assert shown("a" * 500 + ".png").endswith(".png")
    assert len(shown("a" * 500)) < 130
    assert shown("Käse 1") == "Käse 1"


@pytest.mark.parametrize(
    "name", ["", "a" * 101, "a/b", "a\\b", "a\0", "a\n", "a\x7f", "a\x85", "\udcff", "a\u2028"]
)
def test_names_that_no_class_may_have(name: str) -> None:
    assert not is_class_name(name)


@pytest.mark.parametrize("name", ["a", "a" * 100, "Käse", "0", "brown rice (5 kg)", "寿司", "👩‍🍳"])
def test_names_that_a_class_may_have(name: str) -> None:
    assert is_class_name(name)
