"""What is installed: the packages with all the files they read."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATTERNS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
    "package-data"
]


def test_every_pattern_of_the_package_data_names_a_file() -> None:
    for package, patterns in PATTERNS.items():
        for pattern in patterns:
            assert list((ROOT / package).glob(pattern)), (package, pattern)


def test_every_file_of_a_package_that_is_no_code_is_package_data() -> None:
    for package in ("service", "assembler", "supernet"):
        inside = [path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*") if path.is_file()]
        for path in inside:
            if path.suffix in (".py", ".pyc") or any(part.startswith(".") for part in path.parts):
                continue
            assert any(path.match(pattern) for pattern in PATTERNS.get(package, [])), path


def test_every_folder_with_code_is_a_package() -> None:
    for package in ("service", "assembler", "supernet"):
        for path in (ROOT / package).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path
