"""A small supernet with its images and checkpoint, that tests share."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from assembler.compile.network import build_assembler, build_predictor
from assembler.images import TaskImages, task_images
from assembler.model import Assembler, Predictor
from assembler.references import references_of
from supernet.card import Architecture, Card, DataSource, Figures, Training
from supernet.checkpoint import file_digests, save_checkpoint, weights_bytes
from supernet.data import Split
from supernet.evaluate import logits_of
from supernet.gates import full_gates
from supernet.model import Supernet
from supernet.stored import images_bytes
from supernet.task import Kind, Task, outputs_of
from tests.shapes import SMALL

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")
GROUPS = {"insect": (0, 1), "mammal": (2, 3, 5), "fish": (4,)}


def small_supernet(seed: int = 0, architecture: Architecture = SMALL) -> Supernet:
    """Return a supernet with random weights in which every module matters."""
    torch.manual_seed(seed)
    supernet = Supernet(architecture, len(CLASSES))
    for block in supernet.modular_blocks:
        torch.nn.init.normal_(block.project, 0.0, 0.1)
        torch.nn.init.uniform_(block.scale, 0.5, 1.5)
        torch.nn.init.normal_(block.shift, 0.0, 0.3)
        if block.inverted:
            torch.nn.init.uniform_(block.project_scale, 0.5, 1.5)
            torch.nn.init.normal_(block.project_shift, 0.0, 0.3)
    return supernet


def small_images(per_class: int, seed: int = 0) -> Split:
    """Return noisy stripes, lying or standing and of three widths by class; classes interleaved."""
    draw = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(CLASSES)), per_class)
    images = draw.integers(0, 120, (len(labels), 1, 16, 16))
    for image, label in zip(images, labels, strict=True):
        stripes = 100 * ((np.arange(16) + draw.integers(0, 8)) // (1 + label // 2) % 2)
        image[0] += stripes[:, None] if label % 2 else stripes[None, :]
    return Split(images.astype(np.uint8), labels.astype(np.int64))


def sorted_images(calibration: Split, validation: Split, *names: str, other: bool = False) -> TaskImages:
    """Return images sorted for a task that asks for some classes or groups."""
    task = Task(kind=Kind.CLASSIFICATION, classes=names, other=other)
    return task_images(outputs_of(task, CLASSES, GROUPS), calibration, validation, other=other)


def small_checkpoint(
    folder: Path, supernet: Supernet, groups: Mapping[str, tuple[int, ...]] | None = None
) -> Card:
    """Write a whole checkpoint around a supernet, with an untrained assembler and predictor."""
    torch.manual_seed(1)
    architecture = supernet.architecture
    assembler = Assembler(architecture, len(CLASSES))
    torch.nn.init.normal_(assembler.saliency, 0.0, 1.0)
    validation = small_images(20, seed=2)
    gates = full_gates(architecture)
    logits = [logits_of(supernet, gates, small_images(30, seed=1), validation)] * 2
    references = references_of(logits, validation.labels)
    predictor = Predictor(architecture, references.networks)
    files = {
        "weights.safetensors": weights_bytes(supernet),
        "assembler.onnx": build_assembler(assembler),
        "predictor.onnx": build_predictor(predictor),
        "references.npz": references.content,
        "images.npz": images_bytes(small_images(30, seed=1), validation),
    }
    card = Card(
        name=folder.name,
        kind=Kind.CLASSIFICATION,
        classes=CLASSES,
        groups=dict(groups or {}),
        architecture=architecture,
        data=DataSource(name="bands", licence="MIT", credit=""),
        training=Training(command="", seed=0, epochs=0.0, duration_s=0.0, machine="", versions={}),
        figures=Figures(
            dense_accuracy=0.5,
            dense_accuracy_by_class=(0.5,) * len(CLASSES),
            test_images=6,
            predictor_error=0.1,
            predictor_pairs=1,
        ),
        files=file_digests(files),
    )
    save_checkpoint(folder, card, files)
    return card
