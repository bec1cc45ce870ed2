"""Checkpoints come back as they were written, and damage is told in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch

from supernet.card import load_card
from supernet.checkpoint import file_digests, load_checkpoint, named_bytes, save_checkpoint, weights_bytes
from supernet.errors import CheckpointDamaged, DataInvalid, DataMissing
from supernet.gates import full_gates
from supernet.model import Supernet, calibrate
from supernet.named import NAMED_FILE
from tests.shapes import SMALL
from tests.small import CLASSES, small_checkpoint, small_images, small_supernet


def test_weights_survive_saving_whatever_their_memory_order(tmp_path: Path) -> None:
    supernet = small_supernet().to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.copy_(parameter.half().float())
    small_checkpoint(tmp_path / "small", supernet)
    loaded = load_checkpoint(tmp_path / "small").supernet
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_loaded_supernet_computes_what_the_saved_one_did(tmp_path: Path) -> None:
    supernet = small_supernet()
    small_checkpoint(tmp_path / "small", supernet)
    checkpoint = load_checkpoint(tmp_path / "small")
    image = torch.from_numpy(checkpoint.validation.images).float()
    gates = full_gates(SMALL)
    answers = [net(image, gates, calibrate(net, gates, image)) for net in (supernet, checkpoint.supernet)]
    np.testing.assert_allclose(answers[0].detach().numpy(), answers[1].numpy(), atol=0.02)


@pytest.mark.parametrize("name", ["weights.safetensors", "images.npz", "assembler.onnx", "predictor.onnx"])
def test_a_changed_file_is_found_before_anything_is_loaded(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(bytes(content))
    with pytest.raises(CheckpointDamaged, match=f"{name} does not match its sha256"):
        load_card(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    (folder / name).unlink()
    with pytest.raises(CheckpointDamaged, match=f"{name} cannot be read"):
        load_card(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": 3}', '{"unknown": 1}'])
def test_a_card_that_is_none_is_told_in_one_sentence(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    (folder / "card.json").write_text(text)
    with pytest.raises(CheckpointDamaged, match=r"card\.json is not a Card"):
        load_card(folder)


def test_a_new_checkpoint_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    (folder / "left-over").write_text("old")
    card = load_card(folder)
    files = {name: (folder / name).read_bytes() for name in card.files}
    save_checkpoint(folder, card, files)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, "card.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small"]


def test_what_lies_beside_a_checkpoint_is_written_with_it_and_is_no_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    card = load_card(folder)
    files = {name: (folder / name).read_bytes() for name in card.files}
    save_checkpoint(folder, card, files, beside={"look.html": b"a page"})
    assert (folder / "look.html").read_bytes() == b"a page"
    (folder / "look.html").write_bytes(b"another page")
    assert load_card(folder) == card
    assert load_card(folder).digest == card.digest
    save_checkpoint(folder, card, files)
    assert not (folder / "look.html").exists()


@pytest.mark.parametrize("name", [".", "..", ".hidden"])
def test_a_checkpoint_needs_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointDamaged, match="needs a name"):
        small_checkpoint(tmp_path / name if name.startswith(".h") else Path(name), small_supernet())


def test_what_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointDamaged, match="something else lies there"):
        small_checkpoint(tmp_path / "precious", small_supernet())
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_checkpoint_that_does_not_match_its_card_is_never_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    card = load_card(folder)
    files = {name: (folder / name).read_bytes() for name in card.files}
    with pytest.raises(CheckpointDamaged):
        save_checkpoint(folder, card, files | {"weights.safetensors": b"other"})
    assert load_card(folder) == card


def test_a_supernet_of_another_shape_does_not_load(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    small_checkpoint(folder, small_supernet())
    other = Supernet(SMALL.model_copy(update={"neck_channels": 48}), 6)
    files = {name: (folder / name).read_bytes() for name in load_card(folder).files}
    files["weights.safetensors"] = weights_bytes(other)
    save_checkpoint(folder, load_card(folder).model_copy(update={"files": file_digests(files)}), files)
    with pytest.raises(CheckpointDamaged, match=r"weights\.safetensors does not fit the Card"):
        load_checkpoint(folder)


def named_checkpoint(folder: Path, data: Path) -> None:
    """Write a small checkpoint that names the images of a data set instead of holding them."""
    card = small_checkpoint(folder, small_supernet())
    files = {name: (folder / name).read_bytes() for name in card.files if name != "images.npz"}
    files[NAMED_FILE] = named_bytes(data, np.arange(30), np.array([7, 3]))
    save_checkpoint(folder, card.model_copy(update={"files": file_digests(files)}), files)


def stripes(folder: Path) -> Path:
    members: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
    for seed, split in enumerate(("train", "val", "test")):
        images = small_images(6, seed)
        members |= {f"x_{split}": images.images[:, 0], f"y_{split}": images.labels}
    folder.mkdir(exist_ok=True)
    np.savez(folder / "stripes.npz", **members)
    return folder / "stripes.npz"


def test_images_that_are_named_are_taken_from_the_data_set_at_hand(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    named_checkpoint(tmp_path / "small", data)
    found = load_checkpoint(tmp_path / "small", datasets=tmp_path / "data")
    assert np.array_equal(found.calibration.images, small_images(6, 0).images[:30])
    assert np.array_equal(found.validation.images, small_images(6, 1).images[[7, 3]])
    assert found.validation.labels.tolist() == small_images(6, 1).labels[[7, 3]].tolist()


def test_a_data_set_that_is_not_at_hand_is_named_with_its_place(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    named_checkpoint(tmp_path / "small", data)
    for datasets, told in ((None, "NNF_DATASETS is not set"), (tmp_path, f"NNF_DATASETS is {tmp_path}")):
        with pytest.raises(DataMissing, match=r"small takes its images from stripes\.npz") as missing:
            load_checkpoint(tmp_path / "small", datasets=datasets)
        assert told in str(missing.value)


def test_another_data_set_of_the_same_name_is_refused(tmp_path: Path) -> None:
    data = stripes(tmp_path / "data")
    named_checkpoint(tmp_path / "small", data)
    data.write_bytes(data.read_bytes() + b" ")
    with pytest.raises(DataInvalid, match="not the file that supernet small was made with"):
        load_checkpoint(tmp_path / "small", datasets=tmp_path / "data")


def test_images_of_a_folder_or_zip_cannot_be_named(tmp_path: Path) -> None:
    (tmp_path / "pets.zip").touch()
    for path in (tmp_path, tmp_path / "pets.zip"):
        with pytest.raises(DataInvalid, match="cannot be named"):
            named_bytes(path, np.arange(3), np.arange(3))
