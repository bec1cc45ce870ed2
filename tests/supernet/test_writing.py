"""Files are written whole or not at all."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supernet.checkpoint import load_checkpoint
from supernet.errors import Unwritten
from supernet.writing import write_whole
from tests.small import small_checkpoint, small_supernet


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the system refuse to write larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_comes_with_its_folder_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state"
    for content in (b"first", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["state"]


def test_what_does_not_fit_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_whole(path, b"old")
    with files_of_at_most(1000), pytest.raises(Unwritten, match=r"state cannot be written: File too large"):
        write_whole(path, b"0" * 5000)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(Unwritten, match=r"taken/state cannot be written: (File exists|Not a directory)"):
        write_whole(tmp_path / "taken" / "state", b"new")


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    before = load_checkpoint(folder).card.digest
    with files_of_at_most(10_000), pytest.raises(Unwritten, match="small cannot be written"):
        small_checkpoint(folder, small_supernet(seed=1))
    assert load_checkpoint(folder).card.digest == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["small"]
