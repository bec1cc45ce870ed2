"""Where an image belongs follows from its path alone."""

import unicodedata

import pytest

from supernet.photos.findings import Kind
from supernet.photos.layout import Layout, lay_out
from supernet.photos.listing import File, Listing


def unread() -> bytes:
    raise AssertionError("a file was opened")


def laid(*names: str, folders: tuple[str, ...] = (), barred: tuple[str, ...] = ()) -> Layout:
    """Return the layout of a folder with files and perhaps with empty folders, and with what must not be opened."""
    listing = Listing(files=[File(tuple(name.split("/")), 1, unread) for name in sorted(names)])
    for name in barred:
        listing.bar(Kind.LINK, tuple(name.split("/")))
    paths = [name.rpartition("/")[0] for name in (*names, *barred)]
    for parts in (tuple(path.split("/")) for path in (*paths, *folders) if path):
        listing.folders.update(parts[:depth] for depth in range(1, len(parts) + 1))
    return lay_out(listing)


def placed(layout: Layout) -> list[tuple[str, str, str]]:
    return [(place.split, place.class_name, place.file.name) for place in layout.places]


def findings(layout: Layout) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.name) for finding in layout.findings]


def test_a_folder_a_class_gives_no_splits() -> None:
    layout = laid("dog/2.png", "dog/1.png", "cat/1.png")
    assert placed(layout) == [("", "cat", "cat/1.png"), ("", "dog", "dog/1.png"), ("", "dog", "dog/2.png")]
    assert (layout.splits, layout.classes, layout.findings) == ((), ("cat", "dog"), ())


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_images_stand_in_the_order_of_splits(val: str) -> None:
    layout = laid(f"{val}/cat/1.png", "test/cat/1.png", "train/dog/1.png", "train/cat/1.png")
    assert [(split, name) for split, name, _ in placed(layout)] == [
        ("train", "cat"),
        ("train", "dog"),
        ("val", "cat"),
        ("test", "cat"),
    ]
    assert layout.splits == ("train", "val", "test")


@pytest.mark.parametrize("inner", ["", "train/"])
def test_a_wrapping_folder_is_looked_through(inner: str) -> None:
    plain = laid(f"{inner}cat/1.png", f"{inner}dog/1.png", "classes.csv")
    wrapped = laid(f"pets/{inner}cat/1.png", f"pets/{inner}dog/1.png", "pets/classes.csv")
    assert [found[:2] for found in placed(wrapped)] == [found[:2] for found in placed(plain)]
    assert (wrapped.splits, wrapped.classes) == (plain.splits, plain.classes)
    assert (plain.table, wrapped.table) != (None, None)
    assert (plain.findings, wrapped.findings) == ((), ())


def test_one_class_alone_is_no_wrapping_folder() -> None:
    assert laid("cat/1.png").classes == ("cat",)


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "WebP", "bmp", "tif", "TIFF", "gif"])
def test_images_are_known_by_their_suffix_in_any_case(suffix: str) -> None:
    assert laid(f"cat/1.{suffix}").classes == ("cat",)


@pytest.mark.parametrize(
    "name", ["notes.png", "cat/notes.txt", "cat/.hidden.png", "__MACOSX/cat.png", "cat/raw/1.png"]
)
def test_what_has_no_place_is_passed_over_and_named(name: str) -> None:
    layout = laid("cat/1.png", "dog/1.png", name)
    assert (Kind.PASSED_OVER, name) in findings(layout)
    assert len(layout.places) == 2


def test_a_class_folder_beside_splits_is_passed_over() -> None:
    layout = laid("train/cat/1.png", "train/dog/1.png", "owl/1.png")
    assert layout.classes == ("cat", "dog")
    assert findings(layout) == [(Kind.PASSED_OVER, "owl/1.png")]


def test_a_class_whose_accents_are_written_in_two_ways_is_one() -> None:
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    layout = laid(f"train/{names[0]}/1.png", f"val/{names[1]}/1.png")
    assert layout.classes == (names[0],)
    assert {place.class_name for place in layout.places} == {names[0]}


def test_a_class_folder_without_images_is_empty_unless_they_must_not_be_opened() -> None:
    layout = laid("cat/1.png", folders=("owl",), barred=("dog/1.png",))
    assert layout.classes == ("cat", "dog")
    assert findings(layout) == [(Kind.EMPTY, "owl")]
    assert {place.class_name for place in layout.places} == {"cat"}


def test_a_name_that_no_class_may_have_is_found() -> None:
    assert findings(laid("a\\b/1.png", "cat/1.png")) == [(Kind.BAD_NAME, "a\\b")]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("val/cat/1.png", "test/cat/1.png"), "splits without a folder 'train'"),
        (("train/cat/1.png", "val/cat/1.png", "valid/cat/1.png"), "several folders for one split"),
        (("a/b/c/1.png",), "no image lies at such a place"),
        ((), "no image lies at such a place"),
    ],
)
def test_folders_that_are_laid_out_otherwise_are_refused(names: tuple[str, ...], told: str) -> None:
    refused = [finding for finding in laid(*names).findings if finding.kind is Kind.LAYOUT]
    assert [finding.detail for finding in refused] == [told]
    assert refused[0].kind.refuses
