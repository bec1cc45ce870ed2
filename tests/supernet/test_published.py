"""A data set that torchvision knows by name is found or fetched, and read as any other."""

import hashlib
import socket
import sys
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from supernet.data import DataSet, load_data
from supernet.errors import DataInvalid
from supernet.published import SOURCES
from tests.photos import classes_in, photo, put
from tests.published import gray_images, idx, idx_files, put_gzipped, put_idx


def load(name: str, folder: Path, **asked: int) -> DataSet:
    return load_data(Path(f"torchvision:{name}"), datasets=folder, **asked)


def refusal(name: str, folder: Path, **asked: int) -> str:
    with pytest.raises(DataInvalid) as refused:
        load(name, folder, **asked)
    return str(refused.value)


def squares(image: Image.Image, side_px: int) -> np.ndarray:
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def same(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether images are the same, in whatever order."""
    return sorted(image.tobytes() for image in some) == sorted(image.tobytes() for image in others)


@pytest.mark.parametrize(("name", "split"), [(n, s) for n, source in SOURCES.items() for s in source.splits])
def test_torchvision_knows_every_set_and_split_by_these_arguments(
    name: str, split: str, tmp_path: Path
) -> None:
    source = SOURCES[name]
    if not source.in_files:
        assert len(getattr(datasets, name)(**source.splits[split])) > 0
        return
    # Another split or argument than torchvision's is a ValueError or a TypeError.
    with pytest.raises((RuntimeError, OSError, ImportError)):
        getattr(datasets, name)(root=str(tmp_path), download=False, **source.splits[split])


def test_images_without_splits_and_names_get_both_the_same_way_every_time(tmp_path: Path) -> None:
    data, again = load("FakeData", tmp_path), load("FakeData", tmp_path)
    assert data.name == "FakeData"
    assert data.classes == tuple("0123456789")
    assert data.train.images.shape[1:] == (3, 32, 32)
    assert data.train.images.dtype == np.uint8
    assert len(data.train) + len(data.val) + len(data.test) == 1000
    for split, other in ((data.train, again.train), (data.val, again.val), (data.test, again.test)):
        assert np.array_equal(split.images, other.images)
        assert np.array_equal(split.labels, other.labels)
    assert "15 % of every class each" in data.report
    assert not list(tmp_path.iterdir())


def test_a_side_and_channels_that_are_asked_for_go_before_the_set_s_own(tmp_path: Path) -> None:
    assert load("FakeData", tmp_path, side_px=16, channels=1).train.images.shape[1:] == (1, 16, 16)


def test_a_gray_set_stays_as_it_is_and_val_is_drawn_from_its_train(tmp_path: Path) -> None:
    put_idx(tmp_path, "FashionMNIST", idx_files({"train": 200, "t10k": 40}))
    data = load("FashionMNIST", tmp_path)
    assert data.classes[0] == "T-shirt/top"
    assert (len(data.train), len(data.val), len(data.test)) == (170, 30, 40)
    assert np.bincount(data.val.labels).tolist() == [3] * 10
    assert same(data.test.images, gray_images(40, 1)[:, None])
    both = np.concatenate([data.train.images, data.val.images])
    assert same(both, gray_images(200, 0)[:, None])
    for image, label in zip(data.test.images, data.test.labels, strict=True):
        place = int(np.flatnonzero((gray_images(40, 1) == image).all(axis=(1, 2)))[0])
        assert label == place % 10
    assert "test 40" in data.report
    assert "15 % of train's images" in data.report


def test_given_splits_are_used_and_images_squared_as_photographs_are(tmp_path: Path) -> None:
    root = tmp_path / "rendered-sst2"
    for first, (split, count) in enumerate((("train", 5), ("valid", 2), ("test", 3))):
        classes_in(root / split, 100 * first, negative=count, positive=count)
    data = load("RenderedSST2", tmp_path, side_px=24)
    assert data.classes == ("negative", "positive")
    assert (len(data.train), len(data.val), len(data.test)) == (10, 4, 6)
    for place, number in enumerate((100, 101, 102, 103)):
        assert np.array_equal(data.val.images[place], squares(photo(number), 24))
    assert data.val.labels.tolist() == [0, 0, 1, 1]


def test_classes_are_called_as_their_folders_and_equal_squares_keep_their_side(tmp_path: Path) -> None:
    for number in range(24):
        place = tmp_path / "eurosat" / "2750" / ("River", "Forest")[number % 2] / f"{number}.png"
        put(place, photo(number, (64, 64)))
    data = load("EuroSAT", tmp_path)
    assert data.classes == ("Forest", "River")
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 4)
    assert data.train.images.shape[1:] == (3, 64, 64)
    assert load("EuroSAT", tmp_path, side_px=20).train.images.shape[1:] == (3, 20, 20)
    put(tmp_path / "eurosat" / "2750" / "River" / "wide.png", photo(99, (64, 60)))
    assert load("EuroSAT", tmp_path).train.images.shape[1:] == (3, 32, 32)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    classes_in(tmp_path / "eurosat" / "2750", Forest=4, River=4)
    (tmp_path / "eurosat" / "2750" / "River" / "00.png").write_text("no picture")
    assert "image 4 of all cannot be read (cannot identify image file" in refusal("EuroSAT", tmp_path)


def test_splits_of_different_classes_are_refused(tmp_path: Path) -> None:
    for split, names in (("train", "ad"), ("valid", "ad"), ("test", "a")):
        classes_in(tmp_path / "country211" / split, **dict.fromkeys(names, 3))
    assert "its splits have different classes" in refusal("Country211", tmp_path)


def test_too_few_images_of_a_class_are_told_in_the_report(tmp_path: Path) -> None:
    classes_in(tmp_path / "eurosat" / "2750", Forest=9, River=2)
    assert "  River (2 in all)" in refusal("EuroSAT", tmp_path)


def test_a_label_without_a_class_is_refused(tmp_path: Path) -> None:
    files = idx_files({"train": 20, "t10k": 20})
    put_idx(tmp_path, "MNIST", files | {"t10k-labels-idx1-ubyte": idx(np.full(20, 10, np.uint8))})
    assert "has label 10, but 10 classes" in refusal("MNIST", tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("fashionmnist", "FashionMNIST"), ("Flower102", "Flowers102"), ("Cifar-10", "CIFAR10")],
)
def test_an_unknown_name_is_answered_with_what_was_meant(name: str, meant: str, tmp_path: Path) -> None:
    told = refusal(name, tmp_path)
    assert f"did you mean torchvision:{meant}?" in told
    assert "known: CIFAR10, CIFAR100" in told


def test_a_set_that_is_not_for_classification_is_unknown(tmp_path: Path) -> None:
    assert "is no data set that is known here; known: " in refusal("VOCDetection", tmp_path)


def test_a_package_that_is_missing_is_named_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert "needs scipy to read it: pip install scipy" in refusal("Flowers102", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused_with_the_figures(tmp_path: Path) -> None:
    told = refusal("FakeData", tmp_path, side_px=1200)
    assert "1,000 images of 3 x 1200 x 1200 take 4.3 GB; 4 GB are held at most" in told
    files = idx_files({"train": 20, "t10k": 20})
    many = {
        "train-images-idx3-ubyte": idx(np.zeros((400_000, 1, 1), np.uint8)),
        "train-labels-idx1-ubyte": idx(np.zeros(400_000, np.uint8)),
    }
    put_idx(tmp_path, "MNIST", files | many)
    assert "has 400,020 images; 400,000 are read at most" in refusal("MNIST", tmp_path)


def test_a_path_that_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classes_in(tmp_path / "torchvision:FakeData", cat=5, dog=5)
    assert load_data(Path("torchvision:FakeData")).classes == ("cat", "dog")


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that a small server of this machine offers torchvision's Fashion-MNIST from."""
    site = tmp_path / "site"
    put_gzipped(site, idx_files({"train": 100, "t10k": 20}))
    server = HTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    files = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in sorted(site.iterdir())]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", files)
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    serving = Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    yield site
    server.shutdown()
    serving.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_set_that_is_not_at_hand_is_fetched_once(
    offered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sets"
    fetched = load("FashionMNIST", folder)
    assert capsys.readouterr().out == f"torchvision:FashionMNIST is not in {folder}: fetching it\n"
    assert [path.name for path in folder.iterdir()] == ["FashionMNIST"]
    for file in offered.iterdir():
        file.unlink()
    assert np.array_equal(load("FashionMNIST", folder).train.images, fetched.train.images)
    assert capsys.readouterr().out == ""


def test_what_is_missing_of_a_set_is_added(offered: Path, tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    put(raw / "notes.txt", b"mine")
    assert len(load("FashionMNIST", tmp_path).test) == 20
    assert (raw / "notes.txt").read_bytes() == b"mine"


def test_nothing_stays_of_a_set_that_cannot_be_fetched_whole(offered: Path, tmp_path: Path) -> None:
    file = offered / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-5])
    folder = tmp_path / "sets"
    assert "could not be fetched (Error downloading t10k-labels" in refusal("FashionMNIST", folder)
    assert not list(folder.iterdir())


def test_without_a_network_it_is_said_where_the_files_may_be_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    told = refusal("CIFAR10", tmp_path)
    assert told.startswith("data set torchvision:CIFAR10: could not be fetched (<urlopen error no network>)")
    assert f"put its files into {tmp_path}, unpacked as torchvision has them, or set NNF_DATASETS" in told
    assert not list(tmp_path.iterdir())
