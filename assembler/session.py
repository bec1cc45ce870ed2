"""Session: a model file, loaded to be run on one thread."""

from pathlib import Path

import onnxruntime


def single_threaded(model: bytes | Path) -> onnxruntime.InferenceSession:
    """Return a session of the CPU whose calls use the calling thread alone; safe to share between threads.

    Args:
        model: the file's bytes, or where it lies.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
