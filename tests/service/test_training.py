"""The command that trains, as a user starts it."""

import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from supernet.card import load_card
from supernet.checkpoint import load_checkpoint
from tests.commands import COMMAND, LONG_S, known, nnfactory, train_stripes, write_stripes
from tests.photos import classes_in, zip_of
from tests.published import idx, idx_files, put_idx

# For runs of which it does not matter how good they are.
BRIEFLY = ("--epochs", "2", "--without", "saliency")


def test_a_run_that_the_disk_has_no_room_for_says_so_and_goes_on_when_it_has(tmp_path: Path) -> None:
    train = ["train", "--data", "stripes.npz", "--out", "zoo/stripes", "--batch", "24", *BRIEFLY]
    write_stripes(tmp_path)
    limited = shlex.join([*COMMAND, *train, "--pairs", "20", "--processes", "1"])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 100; exec {limited}"],
        cwd=tmp_path,
        env=known(),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(r"nnfactory: \S+run\.pt cannot be written: File too large\n", done.stderr), (
        done.stderr
    )
    assert not (tmp_path / "zoo").exists()
    assert not list(tmp_path.rglob("*.partial"))
    train_stripes(tmp_path, *BRIEFLY)


def test_a_zip_of_photographs_is_reported_on_and_trained_on(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=12, dog=12)
    (tmp_path / "pets" / "cat" / "text.jpg").write_text("a text")
    file = zip_of(tmp_path / "pets", tmp_path / "pets.zip")
    arguments = ["--data", file.name, "--out", "zoo/pets", "--processes", "1"]
    refused = nnfactory("train", *arguments, "--no-store-images", cwd=tmp_path)
    assert refused.returncode == 2
    assert "cannot be named" in refused.stderr
    done = nnfactory("train", *arguments, "--epochs", "2", "--batch", "8", "--pairs", "20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 classes, 24 usable images: train 16, val 4, test 4\n" in done.stdout
    assert "  cat/text.jpg (no image of a known format)\n" in done.stdout
    assert load_card(tmp_path / "zoo" / "pets").classes == ("cat", "dog")


def test_a_published_data_set_is_looked_for_among_the_data_sets_at_hand(tmp_path: Path) -> None:
    few = {"train": 20, "t10k": 20}
    put_idx(
        tmp_path / "sets",
        "MNIST",
        idx_files(few) | {"train-labels-idx1-ubyte": idx(np.full(20, 10, np.uint8))},
    )
    arguments = ["train", "--data", "torchvision:MNIST", "--out", "zoo/digits"]
    for more, told in (([], "has label 10, but 10 classes"), (["--no-store-images"], "cannot be named")):
        refused = nnfactory(*arguments, *more, cwd=tmp_path, NNF_DATASETS=str(tmp_path / "sets"))
        assert refused.returncode == 2
        assert told in refused.stderr


def test_a_run_of_some_minutes_is_stopped_and_goes_on_as_it_was_planned(tmp_path: Path) -> None:
    classes_in(tmp_path / "pets", cat=30, dog=30)
    command = ["train", "--data", "pets", "--out", "zoo/pets", "--processes", "1", "--minutes"]
    assert "epochs of 44 images of 32 px, 32 a step" in stopped_after_a_step(tmp_path, *command, "30")
    plan = (tmp_path / "runs" / "pets" / "effort.json").read_bytes()
    assert "continuing the run" in stopped_after_a_step(tmp_path, *command, "30")
    assert (tmp_path / "runs" / "pets" / "effort.json").read_bytes() == plan
    refused = nnfactory(*command, "40", cwd=tmp_path)
    assert refused.returncode == 2
    assert "planned for 30 minutes" in refused.stderr
    refused = nnfactory(*command, "30", "--epochs", "5", cwd=tmp_path)
    assert refused.returncode == 2
    assert "picks epochs" in refused.stderr


def stopped_after_a_step(folder: Path, *arguments: str) -> str:
    """Start training, interrupt it a little later, and return what it said."""
    state = folder / "runs" / "pets" / "run.pt"
    before = state.stat().st_mtime_ns if state.exists() else 0
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=known(), stdout=subprocess.PIPE, text=True
    ) as running:
        said = []
        for line in running.stdout or ():
            said.append(line)
            if "minutes:" in line:
                time.sleep(2.0)
                running.send_signal(signal.SIGINT)
    assert running.returncode == 130, said
    assert state.stat().st_mtime_ns > before
    return "".join(said)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "missing.npz"], "does not exist"),
        (["--data", "."], "no image lies at such a place"),
        (["--data", "torchvision:FashonMNIST"], "did you mean torchvision:FashionMNIST?"),
    ],
)
def test_data_that_cannot_be_used_is_one_sentence(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = nnfactory("train", *arguments, "--out", "zoo/none", cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "gpu"], ["--device", "must be auto, cpu, or, where there is a GPU, cuda"]),
        (["--channels", "2"], ["--channels", "must be 1 or 3"]),
        (["--from", "resnet"], ["--from", "must be one of: efficientnet-lite0"]),
        (["--minutes", "3", "--pairs", "50"], ["--minutes", "picks epochs, batch and pairs"]),
        (["--without", "batchnorm"], ["--without", "batchnorm is no piece of training"]),
    ],
)
def test_an_option_that_cannot_be_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], told: list[str]
) -> None:
    write_stripes(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--data", "stripes.npz", "--out", "zoo/stripes", *options]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 2, result.output
    assert all(part in result.stderr for part in told), result.stderr
    assert not (tmp_path / "zoo").exists()
    assert not (tmp_path / "runs").exists()


def test_what_is_no_checkpoint_is_not_trained_over(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(app, ["train", "--data", "x.npz", "--out", str(tmp_path / "thesis")])
    assert result.exit_code == 2
    assert result.stderr.startswith("nnfactory: ")
    assert "something else lies there" in result.stderr


@pytest.mark.parametrize("more", [(), ("--no-store-images",)])
def test_the_accuracy_predictor_alone_is_fitted_anew(tmp_path: Path, more: tuple[str, ...]) -> None:
    train_stripes(tmp_path, *BRIEFLY, *more)
    folder = tmp_path / "zoo" / "stripes"
    before = load_card(folder)

    def renew(data: str) -> "subprocess.CompletedProcess[str]":
        arguments = ("zoo/stripes", "--pairs", "40", "--data", data)
        return nnfactory("foretell", *arguments, cwd=tmp_path, NNF_DATASETS=str(tmp_path))

    other = dict(np.load(tmp_path / "stripes.npz")) | {"classes": np.array([f"c{n}" for n in range(6)])}
    np.savez(tmp_path / "other.npz", **other)
    refused = renew("other.npz")
    assert refused.returncode == 2
    assert "the data is not what supernet stripes was trained on" in refused.stderr
    assert load_card(folder) == before
    done = renew("stripes.npz")
    assert done.returncode == 0, done.stdout + done.stderr
    after = load_card(folder)
    changed = {name for name, digest in after.files.items() if digest != before.files[name]}
    assert changed == {"predictor.onnx"}
    assert after.figures.predictor_pairs == 8
    assert before.training.renewal is None
    assert after.training.renewal is not None
    assert after.training.renewal.command == "nnfactory foretell zoo/stripes --pairs 40 --data stripes.npz"
    assert "nn-factory" in after.training.renewal.versions
    assert "foretell zoo/stripes" in (folder / "look.html").read_text()
    same = {"figures": before.figures, "files": before.files, "training": before.training}
    assert after.model_copy(update=same) == before
    assert after.training.model_copy(update={"renewal": None}) == before.training
    assert load_checkpoint(folder, datasets=tmp_path).card == after
    assert (folder / "look.html").is_file()
