import pytest
from sqlalchemy.exc import OperationalError

from assembler.errors import FieldProblem, MalformedJson, ScenarioInvalid
from service.errors import CODES, Refused, problem, refusal

FAULT = FieldProblem("/device", "unknown-device", "there is none")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("queue-full", "full"), "queue-full"),
        (MalformedJson("not JSON"), "malformed-json"),
        (ScenarioInvalid("unknown-device", "none", (FAULT,)), "unknown-device"),
        (OperationalError("SELECT 1", {}, Exception("locked")), "database-unavailable"),
        (PermissionError(13, "Permission denied"), "storage-unavailable"),
        (KeyError("anything else"), "internal"),
    ],
)
def test_every_error_has_its_code(error: Exception, code: str) -> None:
    assert refusal(error).code == code


TOO_EARLY = ("idempotency-in-progress", "rate-limited", "quota-exceeded")


def test_a_problem_has_the_members_of_its_code_and_of_its_occurrence() -> None:
    found = problem(
        "unknown-device",
        "there is none",
        instance="/jobs/x",
        request_id="req_1",
        problems=(FAULT,),
        diagnosis={"a": 1},
    )
    assert found == {
        "type": "/problems/unknown-device",
        "title": "Unknown device",
        "status": 422,
        "detail": "there is none",
        "instance": "/jobs/x",
        "code": "unknown-device",
        "request_id": "req_1",
        "retryable": False,
        "fault": "user",
        "errors": [{"pointer": "/device", "code": "unknown-device", "detail": "there is none"}],
        "diagnosis": {"a": 1},
    }


def test_what_is_the_services_fault_is_a_server_error_and_the_users_a_client_error() -> None:
    for code, known in CODES.items():
        assert (known.status >= 500) == (known.fault == "service"), code
        # What a client does wrong stays wrong, but for what only comes too early or too often.
        assert not (known.retryable and known.fault == "user") or code in TOO_EARLY, code


def test_details_of_unforeseen_errors_stay_inside() -> None:
    assert "secret" not in refusal(RuntimeError("secret")).detail
    assert "secret" not in refusal(OperationalError("SELECT secret", {}, Exception("secret"))).detail
