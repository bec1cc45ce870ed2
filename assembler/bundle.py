"""Bundle: a zip with a model and all that is needed to use it and to trust it; loads no torch.

Equal models with equal manifests give equal bytes.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from assembler.artifact import Assembly, Bundle, address
from assembler.compile.onnx import INPUT_NAME
from assembler.modelcard import model_card
from assembler.runtime.infer import GOLDEN_INPUT, GOLDEN_OUTPUT, MODEL
from assembler.session import single_threaded
from supernet.card import Card, ImageInput

FORMAT = "zip"
# The earliest time a zip can hold: nothing in it says when it was made.
LONG_AGO = (1980, 1, 1, 0, 0, 0)
UNIX, PROGRAM, FILE = 3, 0o100755, 0o100644


def bundled(assembly: Assembly, card: Card) -> Assembly:
    """Return an assembly with its bundle.

    Args:
        assembly: the finished model.
        card: of the supernet that it was cut out of.
    """
    patterns = golden_input(card.architecture.input)
    session = single_threaded(assembly.content)
    (answer,) = session.run(None, {INPUT_NAME: patterns.astype(np.float32)})
    files = {
        "MODEL_CARD.md": model_card(assembly, card).encode(),
        GOLDEN_INPUT: _npy(patterns),
        GOLDEN_OUTPUT: _npy(answer),
        "infer.py": _program(),
        "labels.txt": "".join(f"{name}\n" for name in assembly.manifest["classes"]).encode(),
        "manifest.json": (json.dumps(assembly.manifest, indent=2, ensure_ascii=False) + "\n").encode(),
        MODEL: assembly.content,
    }
    content = zipped(files)
    artifact = address(content, format=FORMAT, precision=assembly.artifact.precision, kind="bundle")
    digests = {name: sha256(each).hexdigest() for name, each in files.items() if name != MODEL}
    digests[MODEL] = assembly.artifact.sha256
    listed = [{"name": name, "bytes": len(each), "sha256": digests[name]} for name, each in files.items()]
    manifest = {**assembly.manifest, "artifact": artifact.model_dump(mode="json"), "files": listed}
    return replace(assembly, bundle=Bundle(content, artifact, manifest))


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip that holds files in their order and nothing of when, where or by whom it was made.

    Nothing is compressed: weights hardly shrink, and compressed bytes depend on the library's version.
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system = UNIX
            entry.external_attr = (PROGRAM if name.endswith(".py") else FILE) << 16
            archive.writestr(entry, content)
    return target.getvalue()


@lru_cache(maxsize=16)
def golden_input(image: ImageInput) -> npt.NDArray[np.uint8]:
    """Return images that show nothing and are alike everywhere, N x C x H x W: waves, and a scramble of all values."""
    channel, row, column = np.indices((image.channels, image.height, image.width))
    waves = (row * (3 + channel) + column * (7 - channel)) % 256
    scramble = (row * 61 + column * 97 + row * column * (13 + 4 * channel)) * 167 % 256
    patterns = np.stack([waves, scramble]).astype(np.uint8)
    patterns.flags.writeable = False
    return patterns


def _npy(array: npt.NDArray[Any]) -> bytes:
    target = io.BytesIO()
    np.save(target, array, allow_pickle=False)
    return target.getvalue()


@lru_cache
def _program() -> bytes:
    return resources.files("assembler.runtime").joinpath("infer.py").read_bytes()
