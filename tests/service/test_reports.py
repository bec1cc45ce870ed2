from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from service.db import reading, writing
from service.models import StoredArtifact, list_artifacts
from service.removal import delete_model
from service.reports import (
    Figures,
    Report,
    Summary,
    add_report,
    forget_reports,
    get_report,
    list_reports,
    summarise,
)
from service.store import FileStore
from tests.servers import ON_BOTH_DATABASES
from tests.service.publishing import make_model

pytestmark = ON_BOTH_DATABASES


@pytest.fixture
def stored(engine: Engine, tmp_path: Any) -> StoredArtifact:
    job = make_model(engine, FileStore(tmp_path), tenant="acme")
    with reading(engine) as connection:
        (found,) = list_artifacts(connection, job.model_id)
    return found


def add(connection: Connection, stored: StoredArtifact, **figures: Any) -> Report:
    return add_report(connection, stored, Figures(**figures), now=5.0)


def test_a_report_is_read_as_it_was_told(engine: Engine, stored: StoredArtifact) -> None:
    with writing(engine) as connection:
        told = add(
            connection,
            stored,
            latency_ms=1.5,
            latency_percentile=95,
            samples=10,
            device="pi",
            measured_at="2026-01-31T12:00:00Z",
        )
        other = add(connection, stored, accuracy=0)
    with reading(engine) as connection:
        assert list_reports(connection, stored.id, limit=5) == [other, told]
        assert list_reports(connection, stored.id, limit=1) == [other]
        assert list_reports(connection, stored.id, before=other.id, limit=5) == [told]
        assert get_report(connection, stored.id, told.id) == told
        assert get_report(connection, "art_1", told.id) is None
    assert told.tenant == "acme"


def test_reports_are_summed_up_by_their_median_latencies(engine: Engine, stored: StoredArtifact) -> None:
    with writing(engine) as connection:
        assert summarise(connection, [stored.model_id, "mdl_1"]) == {}
        add(connection, stored, accuracy=0.5)
        assert summarise(connection, [stored.model_id]) == {stored.model_id: Summary(1, None)}
        for latency_ms in (1.0, 4.0, 2.0):
            add(connection, stored, latency_ms=latency_ms)
        add(connection, stored, latency_ms=2.5, latency_percentile=50)
        add(connection, stored, latency_ms=99.0, latency_percentile=99)
        assert summarise(connection, [stored.model_id]) == {stored.model_id: Summary(6, 2.25)}


def test_reports_go_with_their_artifact_or_after_it(engine: Engine, stored: StoredArtifact) -> None:
    with writing(engine) as connection:
        add(connection, stored, accuracy=0.5)
        assert forget_reports(connection) == 0
        delete_model(connection, "acme", stored.model_id, now=6.0)
        assert list_reports(connection, stored.id, limit=5) == []
        add(connection, stored, accuracy=0.5)
        assert forget_reports(connection) == 1


@given(st.sampled_from(["latency_ms", "memory_mb"]), st.floats(min_value=1e-9, max_value=1e9))
def test_every_positive_figure_is_taken(name: str, value: float) -> None:
    assert getattr(Figures.model_validate({name: value}), name) == value


@given(st.sampled_from(["latency_ms", "memory_mb"]), st.floats(max_value=0) | st.sampled_from([1e10, True]))
def test_no_other_figure_is_taken(name: str, value: float) -> None:
    with pytest.raises(ValidationError):
        Figures.model_validate({name: value})


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"samples": 3},
        {"accuracy": 0.5, "latency_percentile": 50},
        {"accuracy": 1.1},
        {"accuracy": -0.1},
        {"accuracy": 0.5, "samples": 0},
        {"accuracy": 0.5, "samples": 1.5},
        {"accuracy": 0.5, "device": ""},
        {"accuracy": 0.5, "note": "x" * 1001},
        {"accuracy": 0.5, "measured_at": "yesterday"},
        {"accuracy": 0.5, "measured_at": "2026-13-01T00:00:00Z"},
        {"latency_ms": 1, "latency_percentile": 100},
    ],
)
def test_what_says_nothing_or_nonsense_is_no_report(figures: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Figures.model_validate(figures)
