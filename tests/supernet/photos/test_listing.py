"""Nothing outside the folder or zip is opened, and nothing but plain files is."""

import os
import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from supernet.errors import DataInvalid
from supernet.photos.findings import Kind
from supernet.photos.listing import UNREADABLE, listed
from tests.photos import put, zipped


def found_in(path: Path) -> tuple[list[str], list[tuple[Kind, str, str]]]:
    with listed(path) as listing:
        for file in listing.files:
            assert len(file.read()) == file.size_bytes
        return [file.name for file in listing.files], [
            (one.kind, one.name, one.detail) for one in listing.findings
        ]


def test_links_out_of_the_folder_in_circles_and_to_nowhere_are_named_and_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    put(root / "cat" / "1.png", b"one")
    put(tmp_path / "secret" / "2.png", b"two")
    (root / "cat" / "out.png").symlink_to(tmp_path / "secret" / "2.png")
    (root / "secret").symlink_to(tmp_path / "secret")
    (root / "up.png").symlink_to("../secret/2.png")
    (root / "cat" / "again").symlink_to("..")
    (root / "cat" / "self.png").symlink_to("self.png")
    (root / "cat" / "none.png").symlink_to("missing.png")
    files, findings = found_in(root)
    assert files == ["cat/1.png"]
    assert findings == [
        (Kind.LINK, "cat/again", "leads in a circle"),
        (Kind.LINK, "cat/none.png", "leads nowhere"),
        (Kind.LINK, "cat/out.png", "leads out of the folder"),
        (Kind.LINK, "cat/self.png", "leads in a circle"),
        (Kind.LINK, "secret", "leads out of the folder"),
        (Kind.LINK, "up.png", "leads out of the folder"),
    ]


def test_links_within_the_folder_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "all" / "1.png", b"one")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").symlink_to("../all/1.png")
    (tmp_path / "dog").symlink_to("all")
    (tmp_path / "all" / "more").symlink_to("../cat")
    files, findings = found_in(tmp_path)
    assert files == ["all/1.png", "all/more/a.png", "cat/a.png", "dog/1.png"]
    assert findings == [(Kind.LINK, "dog/more", "a link behind a link")]


def test_a_folder_that_is_a_link_itself_is_read(tmp_path: Path) -> None:
    put(tmp_path / "pets" / "cat" / "1.png", b"one")
    (tmp_path / "link").symlink_to("pets")
    assert found_in(tmp_path / "link") == (["cat/1.png"], [])


def test_a_pipe_is_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert found_in(tmp_path) == ([], [(Kind.SPECIAL, "pipe.png", "")])


def test_hidden_and_deep_folders_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path / ".git" / "1.png", b"one")
    put(tmp_path / "pets" / "train" / "cat" / "raw" / "1.png", b"one")
    assert found_in(tmp_path) == (
        [],
        [(Kind.PASSED_OVER, ".git", "a folder"), (Kind.PASSED_OVER, "pets/train/cat/raw", "a folder")],
    )


def test_zip_entries_that_lead_out_are_named(tmp_path: Path) -> None:
    names = [
        "/cat/1.png",
        "../1.png",
        "cat/../../1.png",
        "C:\\cat\\1.png",
        "\\\\host\\1.png",
        "cat\\..\\..\\1.png",
    ]
    file = zipped(tmp_path / "pets.zip", dict.fromkeys([*names, "./cat//1.png"], b"one"))
    files, findings = found_in(file)
    assert files == ["cat/1.png"]
    assert findings == [(Kind.OUTSIDE, name, "") for name in names]


def test_links_and_pipes_in_a_zip_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for name, kind in (
            ("link.png", stat.S_IFLNK),
            ("pipe.png", stat.S_IFIFO),
            ("plain.png", stat.S_IFREG),
        ):
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind | 0o644) << 16
            archive.writestr(info, b"/etc/passwd")
    files, findings = found_in(tmp_path / "pets.zip")
    assert files == ["plain.png"]
    assert [(kind, name) for kind, name, _ in findings] == [
        (Kind.LINK, "link.png"),
        (Kind.SPECIAL, "pipe.png"),
    ]


def test_an_encrypted_entry_is_named(tmp_path: Path) -> None:
    file = zipped(tmp_path / "pets.zip", {"cat/1.png": b"one", "cat/2.png": b"two"})
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + place] |= 1
    file.write_bytes(content)
    assert found_in(file) == (["cat/2.png"], [(Kind.ENCRYPTED, "cat/1.png", "")])


def test_an_entry_that_inflates_to_more_than_it_says_fails_without_filling_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(2**24))
    content = file.read_bytes().replace(struct.pack("<I", 2**24), struct.pack("<I", 3))
    file.write_bytes(content)
    with listed(file) as listing:
        assert listing.files[0].size_bytes == 3
        tracemalloc.start()
        with pytest.raises(UNREADABLE, match="Bad CRC"):
            listing.files[0].read()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < 2**20


def test_a_damaged_entry_fails_alone(tmp_path: Path) -> None:
    file = zipped(tmp_path / "pets.zip", {"1.png": b"first", "2.png": b"second"})
    file.write_bytes(file.read_bytes().replace(b"first", b"worst"))
    with listed(file) as listing:
        with pytest.raises(UNREADABLE):
            listing.files[0].read()
        assert listing.files[1].read() == b"second"


def test_a_name_is_read_beyond_a_nul(tmp_path: Path) -> None:
    file = zipped(tmp_path / "pets.zip", {"c?t/1.png": b"one"})
    file.write_bytes(file.read_bytes().replace(b"c?t", b"c\0t"))
    assert found_in(file)[0] == ["c\0t/1.png"]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\5\6", zlib.compress(b"no zip")])
def test_a_zip_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pets.zip").write_bytes(content)
    with pytest.raises(DataInvalid, match="cannot be read as a zip"), listed(tmp_path / "pets.zip"):
        pass
