"""Division: which images are left out as repeats, and which split every other one goes to. Loads no torch."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from supernet.photos.findings import Finding, Kind

HELD_OUT_SHARE = 0.15
# Where the same pixels are in two splits they stay in the one that comes first here.
KEEPERS = ("test", "val", "train", "")
FEWEST_IN_ALL, FEWEST_IN_TRAIN, FEWEST_CLASSES = 4, 2, 2


@dataclass(frozen=True, slots=True)
class Sample:
    """A usable image: where it is, what it is, the digest of its pixels; ``number`` tells it from all others."""

    number: int
    split: str
    class_name: str
    name: str
    digest: bytes


def without_repeats(samples: Sequence[Sample]) -> tuple[list[Sample], list[Finding]]:
    """Return the samples of which each has pixels of its own, in their order, and what was left out.

    Pixels under several classes are left out of all; in several splits, they stay in test, else in val;
    of several in one split the first stays.
    """
    alike: dict[bytes, list[Sample]] = defaultdict(list)
    for sample in samples:
        alike[sample.digest].append(sample)
    kept: list[Sample] = []
    findings: list[Finding] = []
    for same in alike.values():
        if len({sample.class_name for sample in same}) > 1:
            findings += [Finding(Kind.CLASHING, sample.name, _beside(sample, same)) for sample in same]
            continue
        keeper = min(same, key=lambda sample: KEEPERS.index(sample.split))
        kept.append(keeper)
        for sample in same:
            if sample is not keeper:
                kind = Kind.REPEATED if sample.split == keeper.split else Kind.LEAKED
                findings.append(Finding(kind, sample.name, f"as {keeper.name}"))
    return sorted(kept, key=lambda sample: sample.number), findings


def _beside(sample: Sample, same: list[Sample]) -> str:
    other = next(one for one in same if one.class_name != sample.class_name)
    return f"as {other.name}"


def shortcomings(samples: Iterable[Sample], classes: Sequence[str], splits: Sequence[str]) -> list[Finding]:
    """Return what makes these images too few to train on.

    Args:
        samples: without repeats.
        classes: with at least one image file, usable or not.
        splits: that the folder gives; none where it gives none.
    """
    in_all: Counter[str] = Counter()
    in_train: Counter[str] = Counter()
    for sample in samples:
        in_all[sample.class_name] += 1
        in_train[sample.class_name] += sample.split == "train"
    findings = []
    if len(classes) < FEWEST_CLASSES:
        findings.append(Finding(Kind.FEW_CLASSES, ", ".join(classes) or "none", f"{len(classes)} found"))
    for name in classes:
        if splits and in_all[name] and not in_train[name]:
            findings.append(Finding(Kind.NOT_IN_TRAIN, name, f"{in_all[name]} in val or test"))
        elif in_all[name] < FEWEST_IN_ALL or (splits and in_train[name] < FEWEST_IN_TRAIN):
            of_train = f", {in_train[name]} in train" if splits else ""
            findings.append(Finding(Kind.FEW_IMAGES, name, f"{in_all[name]} in all{of_train}"))
    return findings


def divide(samples: Sequence[Sample], splits: Sequence[str], seed: int) -> tuple[list[Sample], list[Finding]]:
    """Return the samples with a split each, and what was decided.

    Without given splits, 15 % of every class, at least 1 image, go to val and as many to test; likewise where only
    train is given. With given ones, a class without images in val gets 15 % of its training images there, at least 1.
    What is chosen on val cannot be tested on it: where test alone is missing, the images of val are the test, and val
    is drawn from train. The draw depends on the seed and on the class's own images only.

    Args:
        samples: without repeats, and without ``shortcomings``.
        splits: that the folder gives; none where it gives none.
        seed: of the shuffle.
    """
    by_class: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_class[sample.class_name].append(sample)
    divided: list[Sample] = []
    findings: list[Finding] = []
    if "test" not in splits and "val" in splits:
        findings.append(Finding(Kind.DIVIDED, "test", "the images of val"))
        for name, mine in by_class.items():
            by_class[name] = [
                replace(sample, split="test" if sample.split == "val" else sample.split) for sample in mine
            ]
        splits = ("train", "test")
    if "test" not in splits:
        splits = ()
        findings.append(
            Finding(Kind.DIVIDED, "val and test", "15 % of every class each, by a seeded shuffle")
        )
    elif "val" not in splits:
        findings.append(
            Finding(Kind.DIVIDED, "val", "15 % of train's images of every class, by a seeded shuffle")
        )
    for name, mine in by_class.items():
        if not splits:
            divided += _moved(mine, ("val", "test"), seed)
            continue
        present = {sample.split for sample in mine}
        if "val" not in present:
            train = _moved([sample for sample in mine if sample.split == "train"], ("val",), seed)
            count = sum(sample.split == "val" for sample in train)
            if "val" in splits:
                findings.append(Finding(Kind.MOVED, name, f"{count} of {len(train)}"))
            mine = train + [sample for sample in mine if sample.split != "train"]
        if "test" in splits and "test" not in present:
            findings.append(Finding(Kind.UNTESTED, name))
        divided += mine
    return sorted(divided, key=lambda sample: sample.number), findings


def _moved(samples: list[Sample], to: tuple[str, ...], seed: int) -> list[Sample]:
    """Return samples of one class with a share of them in each of some splits, the others in train."""
    count = max(1, round(HELD_OUT_SHARE * len(samples)))
    own = zlib.crc32(samples[0].class_name.encode())
    order = np.random.default_rng([seed, own]).permutation(len(samples))
    split_of = dict.fromkeys(order.tolist(), "train")
    for part, split in enumerate(to):
        split_of |= dict.fromkeys(order[part * count : (part + 1) * count].tolist(), split)
    return [replace(sample, split=split_of[place]) for place, sample in enumerate(samples)]
