"""A session runs a model from its bytes or from its file alike."""

from pathlib import Path

import numpy as np

from assembler.compile.onnx import build
from assembler.session import single_threaded
from assembler.subnet import random_subnet
from tests.shapes import SMALL


def test_bytes_and_file_are_run_alike_on_one_thread(tmp_path: Path) -> None:
    content = build(random_subnet(SMALL, (1, 2, 1), 3), SMALL.input)
    (tmp_path / "model.onnx").write_bytes(content)
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16)).astype(np.float32)
    sessions = [single_threaded(content), single_threaded(tmp_path / "model.onnx")]
    first, second = (session.run(None, {"image": images})[0] for session in sessions)
    assert np.array_equal(first, second)
    assert all(session.get_session_options().intra_op_num_threads == 1 for session in sessions)
