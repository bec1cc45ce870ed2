"""Verification: the file computes what the supernet computes, and how often it is right."""

import numpy as np
import torch

from assembler.candidate import Candidate, run_all
from assembler.cost import macs
from assembler.errors import VerificationFailed
from assembler.session import single_threaded
from supernet.data import Split
from supernet.evaluate import as_batch
from supernet.model import Supernet

TOLERANCE = 1e-4
# Images that outputs are compared on: fewer where the network is large.
MOST_CHECKED, FEWEST_CHECKED, CHECKED_MACS = 64, 16, 1.5e9


@torch.no_grad()
def verify(content: bytes, candidate: Candidate, supernet: Supernet, images: Split) -> float:
    """Compare a model file's outputs with PyTorch's on images; return its accuracy on all of them.

    The outputs are compared on the first 64, of a large network on as few as 16. PyTorch runs the supernet itself with
    the candidate's gates and statistics, so that slicing, folding and compiling are all checked at once.

    Raises:
        VerificationFailed: an output differs by more than 1e-4, or is not a number.
    """
    scores = run_all(single_threaded(content), images.images)
    work = macs(supernet.architecture.at(candidate.gates.side), candidate.gates.counts, scores.shape[1])
    count = int(np.clip(CHECKED_MACS / work, FEWEST_CHECKED, MOST_CHECKED))
    answer, few = scores[:count], images.images[:count]
    device = supernet.mean.device
    known = supernet.features(as_batch(few, device), candidate.gates, candidate.statistics)
    logits = torch.from_numpy(candidate.subnet.logits(known.cpu().numpy()))
    expected = torch.softmax(logits, dim=1).numpy()
    difference = float(np.abs(answer - expected).max())
    if not difference <= TOLERANCE:  # also when it is not a number
        raise VerificationFailed(difference, TOLERANCE)
    return float((scores.argmax(axis=1) == images.labels).mean())
