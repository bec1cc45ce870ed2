"""Every source file has its tests at the same place: ``service/jobs.py`` in ``tests/service/test_jobs.py``."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("service", "assembler", "supernet")
PLAIN = "its errors are plain classes: what each says is asserted where it is raised"
MIGRATED = "test_migrations.py runs it and compares what it makes with the tables of the code"
UNTESTED = {
    "service/tables.py": "columns alone: test_migrations.py compares them with what the migrations make",
    "service/migrations/env.py": MIGRATED,
    "service/migrations/versions/0001_first.py": MIGRATED,
    "service/migrations/versions/0002_repeats_and_batches.py": MIGRATED,
    "service/migrations/versions/0003_keys_and_tenants.py": MIGRATED,
    "service/migrations/versions/0004_profiles.py": MIGRATED,
    "service/migrations/versions/0005_removal.py": MIGRATED,
    "service/migrations/versions/0006_webhooks.py": MIGRATED,
    "service/migrations/versions/0007_metrics.py": MIGRATED,
    "service/migrations/versions/0008_figures.py": MIGRATED,
    "service/migrations/versions/0009_rotation.py": MIGRATED,
    "service/migrations/versions/0010_devices.py": MIGRATED,
    "service/migrations/versions/0011_indexes.py": MIGRATED,
    "assembler/phase.py": "two plain values: test_assemble.py asserts when each is yielded",
    "service/calls/errors.py": PLAIN,
    "assembler/errors.py": PLAIN,
    "supernet/errors.py": PLAIN,
}


def is_docstring_alone(source: Path) -> bool:
    """Whether a file has nothing that could be tested, as most of those that make a folder a package."""
    return all(isinstance(node, ast.Expr) for node in ast.parse(source.read_text()).body)


def place_of(source: Path) -> Path:
    """Return where the tests of a file belong; those of a package's own code stand for the package."""
    package = source.parent if source.name == "__init__.py" else source.with_suffix("")
    return Path("tests") / package.parent / f"test_{package.name}.py"


SOURCES = sorted(
    path.relative_to(ROOT)
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if not is_docstring_alone(path)
)


@pytest.mark.parametrize("source", [source for source in SOURCES if str(source) not in UNTESTED], ids=str)
def test_a_source_file_has_a_file_of_tests(source: Path) -> None:
    assert "def test_" in (ROOT / place_of(source)).read_text()


@pytest.mark.parametrize("source", UNTESTED)
def test_an_exception_is_a_source_file_that_has_no_tests(source: str) -> None:
    assert Path(source) in SOURCES
    assert not (ROOT / place_of(Path(source))).exists()


def test_a_file_of_tests_stands_for_a_source_file() -> None:
    expected = {place_of(source) for source in SOURCES}
    for room in ROOMS:
        found = {path.relative_to(ROOT) for path in (ROOT / "tests" / room).rglob("test_*.py")}
        assert found <= expected
