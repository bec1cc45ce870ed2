"""Pieces of the method that can be left out, so that the worth of each can be measured.

Serving always uses all of them; ``benchmarks/ablation.py`` leaves one out at a time.
"""

from dataclasses import dataclass

from assembler.utility import PORTFOLIO

# Pieces of training, for ``nnfactory train --without``.
TRAINING = {
    "average": "the weights' moving average",
    "settling": "BatchNorms of published weights, rewritten for the images",
    "way-back": "fine-tuned weights that go part of the way back to published ones",
    "probe": "a head fitted to published weights before training",
    "teacher": "distillation from the full net",
    "ladder": "one order that sub-networks grow in, instead of random shapes",
    "saliency": "affinity of classes to modules",
    "learning": "what the assembler learns beyond ladder and saliency",
    "tasks": "sub-networks for class sets, beside those for all classes",
    "clusters": "class sets of neighbours, beside random ones",
}


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of serving: weights of the class term that give candidates, head refit, choice of the image's side."""

    weights: tuple[float, ...] = PORTFOLIO
    refit: bool = True
    sides: bool = True
