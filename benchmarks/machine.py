"""What a benchmark ran on: printed with every result, since figures of two machines do not compare."""

import os
import platform
from importlib import metadata
from typing import Any

from assembler.device import this_machine

PACKAGES = ("numpy", "onnx", "onnxruntime", "torch")


def describe_machine() -> dict[str, Any]:
    """Return processor, usable cores, system, versions, and how busy the machine was with other work."""
    return {
        "cpu": this_machine().cpu,
        "isa": list(this_machine().isa),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "load": round(os.getloadavg()[0], 2),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
