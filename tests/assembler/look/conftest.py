"""A small checkpoint and what is to be seen of it."""

import pytest

from assembler.look.examine import confusion_of, examine
from assembler.look.facts import Look
from assembler.propose import Estimator
from supernet.checkpoint import Checkpoint, load_checkpoint
from tests.assembler.look.seen import TEST
from tests.small import small_checkpoint, small_supernet


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("zoo") / "small"
    small_checkpoint(folder, small_supernet())
    return load_checkpoint(folder)


@pytest.fixture(scope="session")
def look(checkpoint: Checkpoint) -> Look:
    confusion = confusion_of(checkpoint.supernet, checkpoint.calibration, TEST)
    return examine(checkpoint, Estimator(checkpoint.folder, checkpoint.card), confusion, "test images")
