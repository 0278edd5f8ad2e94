"""The exceptions: which there are, what they mean, what they know."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from pictograph_answers import refusal

import failwell
from failwell import Answer, Failure
from failwell.testing import make_error
from pictograph import CONTRACT, FileResult, exceptions
from pictograph.exceptions import (
    ApiError,
    AuthError,
    ConfigurationError,
    ConflictError,
    FolderUploadError,
    ForbiddenError,
    JobFailedError,
    NetworkError,
    NotFoundError,
    PaymentRequiredError,
    PictographCallError,
    PictographError,
    PictographTypeError,
    PictographValueError,
    PollTimeoutError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    UploadError,
    ValidationError,
)

# The document's hierarchy, and what of failwell each of them means.
DOCUMENTED: dict[type[PictographError], type[failwell.Error]] = {
    ConfigurationError: failwell.ConfigurationError,
    AuthError: failwell.AuthenticationError,
    ForbiddenError: failwell.PermissionDeniedError,
    NotFoundError: failwell.NotFoundError,
    ConflictError: failwell.ConflictError,
    ValidationError: failwell.InvalidRequestError,
    PaymentRequiredError: failwell.PaymentRequiredError,
    RateLimitError: failwell.RateLimitError,
    ServerError: failwell.ServerError,
    NetworkError: failwell.TransportError,
    RequestTimeoutError: failwell.CallTimeoutError,
    PollTimeoutError: failwell.PollTimeoutError,
    ApiError: failwell.APIError,
}


def decoded(status: int, body: Any = None, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    return CONTRACT.decode(Answer(status, fields, text))


def test_there_are_thirteen_below_the_base() -> None:
    assert len(DOCUMENTED) == 13
    for own, standard in DOCUMENTED.items():
        assert issubclass(own, PictographError)
        assert issubclass(own, standard)


def test_the_thirteen_stand_beside_each_other() -> None:
    for one in DOCUMENTED:
        for other in DOCUMENTED:
            assert one is other or not issubclass(one, other), (one, other)


def test_every_name_of_the_document_can_be_imported() -> None:
    names = {"PictographError", *(cls.__name__ for cls in DOCUMENTED)}

    assert names <= set(exceptions.__all__)
    for name in exceptions.__all__:
        assert getattr(exceptions, name)


@pytest.mark.parametrize(
    ("status", "raises"),
    [
        (400, ApiError),
        (401, AuthError),
        (402, PaymentRequiredError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (405, ApiError),
        (409, ConflictError),
        (413, ApiError),
        (418, ApiError),
        (422, ValidationError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
def test_each_status_is_one_class_and_goes_round(status: int, raises: type[PictographCallError]) -> None:
    error = decoded(status, refusal("some_code", "A sentence."))
    back = CONTRACT.decode(CONTRACT.encode(error))

    assert type(error) is raises
    assert (error.status_code, error.error_code) == (status, "some_code")
    assert "A sentence." in str(error)
    assert (error.request_id, str(status) in str(error)) == ("req_1", True)
    assert type(back) is raises
    assert (back.status_code, back.error_code, back.message) == (status, "some_code", "A sentence.")


def test_a_payment_that_is_due_says_how_much_and_where() -> None:
    url = "https://pictograph.example/billing/upgrade"
    body = refusal("insufficient_credits", "Too few.", required=50, remaining=3, upgrade_url=url)
    error = decoded(402, body)
    back = CONTRACT.decode(CONTRACT.encode(error))

    for each in (error, pickle.loads(pickle.dumps(error)), back):
        assert (each.required, each.remaining, each.upgrade_url) == (50, 3, url)


@pytest.mark.parametrize(
    "body", [None, "text", {"detail": "Pay first."}, refusal("no", required="many", upgrade_url=1)]
)
def test_a_payment_that_is_due_and_says_no_more_has_a_message(body: Any) -> None:
    error = decoded(402, body)

    assert (error.required, error.remaining, error.upgrade_url) == (None, None, None)
    assert str(error)


def test_a_refused_payload_lists_every_field() -> None:
    fields = [
        {
            "loc": ["body", "annotations", 0, "class"],
            "msg": "Use 'name' for the label.",
            "type": "class_not_name",
        },
        {"loc": ["body", "annotations", 0, "bbox"], "msg": "Field required", "type": "missing"},
    ]
    error = decoded(422, refusal("validation_failed", "The payload was refused.", errors=fields))

    assert error.errors == fields
    assert CONTRACT.decode(CONTRACT.encode(error)).errors == fields  # type: ignore[union-attr]
    assert str(error).startswith("The payload was refused: body.annotations.0.class: Use 'name'")


def test_the_bare_list_of_a_framework_is_read_as_well() -> None:
    fields = [{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}]

    assert decoded(422, {"detail": fields}).errors == fields
    assert str(decoded(422, {"detail": fields})) == "Field required (422)"


def test_a_refused_payload_without_fields_has_none() -> None:
    assert decoded(422, {"detail": "No."}).errors == []
    assert str(decoded(422, {"detail": "No."})) == "No. (422)"


def test_an_idempotency_conflict_is_told_by_its_code() -> None:
    error = decoded(409, refusal("idempotency_conflict"))

    assert type(error) is ConflictError
    assert (error.error_code, error.effect.value, error.retryable) == (
        "idempotency_conflict", "not_applied", False,
    )  # fmt: skip


def test_what_is_still_being_carried_out_is_left_open() -> None:
    error = decoded(409, refusal("idempotency_in_flight"), retry_after="1")

    assert (type(error), error.effect.value, error.retry_after) == (ConflictError, "unknown", 1.0)


@pytest.mark.parametrize("cls", [PollTimeoutError, JobFailedError])
def test_an_error_of_a_job_has_its_id_and_takes_it_along(cls: type[Any]) -> None:
    error = make_error(cls, details={"job_id": "run_7", "job_status": "running"})

    for each in (error, pickle.loads(pickle.dumps(error)), cls.from_dict(error.to_dict())):
        assert (each.run_id, each.job_status) == ("run_7", "running")


def test_a_failed_job_is_an_api_error() -> None:
    assert issubclass(JobFailedError, ApiError)
    assert issubclass(JobFailedError, failwell.JobFailedError)


def test_what_became_of_a_folder_is_taken_along() -> None:
    results = [FileResult("a.jpg", "uploaded", "img_1"), FileResult("b.jpg", "failed", error="It broke")]
    failure = Failure(message="1 of 2", details={"results": [result.to_json() for result in results]})
    error = FolderUploadError.from_failure(failure, exceptions=[make_error(ServerError)])

    for each in (error, pickle.loads(pickle.dumps(error)), FolderUploadError.from_dict(error.to_dict())):
        assert isinstance(each, FolderUploadError)
        assert each.results == results
        assert [type(inner) for inner in each.exceptions] == [ServerError]
    assert isinstance(error, ExceptionGroup)
    assert FolderUploadError("none", [ValueError()]).results == []


def test_what_is_refused_before_a_call_is_an_error_of_the_sdk_and_of_python() -> None:
    assert issubclass(PictographValueError, ValueError)
    assert issubclass(PictographTypeError, TypeError)
    for cls in (PictographValueError, PictographTypeError, ConfigurationError):
        assert issubclass(cls, PictographError)
        assert not issubclass(cls, PictographCallError)


def test_an_error_can_be_made_by_hand() -> None:
    for cls in (*DOCUMENTED, UploadError):
        assert str(cls("It broke")) == "It broke"


def test_the_members_of_a_proxys_answer_are_read_where_they_are() -> None:
    assert decoded(503, {"message": "upstream is down"}).message == "upstream is down"
    assert decoded(404, {"detail": "Not Found"}).message == "Not Found"
