"""Pieces of the method that can be left out, so that the worth of each can be measured.

Serving always uses all of them; ``benchmarks/ablation.py`` leaves one out at a time.
"""

from dataclasses import dataclass

from assembler.utility import PORTFOLIO

# Pieces of training, for ``nnfactory train --without``.
TRAINING = {
    "full": "the dense net alone at first",
    "elastic": "random sub-networks before the assembler chooses",
    "settle": "an assembler that stands still at the end",
    "average": "the weights' moving average",
    "settling": "BatchNorms of published weights, rewritten for the images",
    "way-back": "fine-tuned weights that go part of the way back to published ones",
    "probe": "a head fitted to published weights before training",
    "teacher": "distillation from the full net",
    "ladder": "one order that sub-networks grow in, instead of random shapes",
    "saliency": "affinity of classes to modules",
    "middle": "modules that follow the budget alone in the first half of the net",
    "learning": "what the assembler learns beyond ladder and saliency",
    "noise": "exploration while the assembler learns",
    "tasks": "sub-networks for class sets, beside those for all classes",
    "clusters": "class sets of neighbours, beside random ones",
}
# Those that there are only where a run starts with published weights; those only where the full net then stands.
PUBLISHED, STANDING = frozenset({"settling", "probe"}), frozenset({"way-back"})


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of serving: weights of the class term that give candidates, head refit, choice of the image's side.

    Without the predictor the largest image leads, as far as nothing else decides.
    """

    weights: tuple[float, ...] = PORTFOLIO
    refit: bool = True
    sides: bool = True
    predictor: bool = True
