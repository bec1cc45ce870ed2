"""Verification: the file computes what the supernet computes."""

import numpy as np
import onnxruntime
import torch

from assembler.candidate import Candidate
from assembler.compile.onnx import INPUT_NAME, OUTPUT_NAME
from assembler.errors import VerificationFailed
from supernet.data import Split
from supernet.evaluate import as_batch
from supernet.model import Supernet

TOLERANCE = 1e-4


@torch.no_grad()
def verify(content: bytes, candidate: Candidate, supernet: Supernet, images: Split) -> float:
    """Compare a model file's outputs with PyTorch's on images; return the largest difference.

    PyTorch runs the supernet itself with the candidate's gates and statistics, so that slicing, folding
    and compiling are all checked at once.

    Raises:
        VerificationFailed: an output differs by more than 1e-4, or is not a number.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (answer,) = session.run([OUTPUT_NAME], {INPUT_NAME: images.images.astype(np.float32)})
    device = supernet.mean.device
    known = supernet.features(as_batch(images.images, device), candidate.gates, candidate.statistics)
    weight = torch.from_numpy(candidate.subnet.head_weight).to(device)
    bias = torch.from_numpy(candidate.subnet.head_bias).to(device)
    expected = torch.softmax(known @ weight.T + bias, dim=1).cpu().numpy()
    difference = float(np.abs(answer - expected).max())
    if not difference <= TOLERANCE:  # also when it is not a number
        raise VerificationFailed(difference, TOLERANCE)
    return difference
