"""
The exceptions of the Pictograph API. Which answer is which stands in `pictograph.contract`.

    PictographError
    ├── ConfigurationError        no API key, a base URL that cannot be used
    ├── PictographValueError      an argument cannot be used: nothing was sent
    │   └── PictographTypeError   an argument has the wrong type: nothing was sent
    └── PictographCallError       a call was made and did not succeed
        ├── AuthError             401
        ├── ForbiddenError        403
        ├── NotFoundError         404
        ├── ConflictError         409
        ├── ValidationError       422: `errors`
        ├── PaymentRequiredError  402: `required`, `remaining`, `upgrade_url`
        ├── RateLimitError        429: `retry_after`
        ├── ServerError           5xx
        ├── NetworkError          no usable answer came
        ├── RequestTimeoutError   the time allowed was over
        ├── PollTimeoutError      a job was not finished in time: `run_id`
        ├── UploadError           a file could not be read, or changed while it was sent
        ├── FolderUploadError     some files of a folder were not uploaded: `results`
        └── ApiError              any other answer that is a failure
            └── JobFailedError    a job ran and failed: `run_id`

The thirteen of the document stand beside each other: `except ApiError` catches none of the others.
Each of them is also the class of failwell that says what it means, so `except failwell.RateLimitError`
catches a `RateLimitError` of this package.
"""

from __future__ import annotations

import failwell.errors as standard
from failwell.errors import CallError, Error
from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pictograph.contract import CONTRACT as CONTRACT
    from pictograph.models import FileResult

__all__ = [
    "CONTRACT",
    "ApiError",
    "AuthError",
    "ConfigurationError",
    "ConflictError",
    "FolderUploadError",
    "ForbiddenError",
    "JobFailedError",
    "NetworkError",
    "NotFoundError",
    "PaymentRequiredError",
    "PictographCallError",
    "PictographError",
    "PictographTypeError",
    "PictographValueError",
    "PollTimeoutError",
    "RateLimitError",
    "RequestTimeoutError",
    "ServerError",
    "UploadError",
    "ValidationError",
]


class PictographError(Error):
    """
    Everything this SDK raises.

    Catch one of the subclasses for a failure you can handle; catch this one to log and raise again.
    """

    @property
    def status_code(self) -> int | None:
        """The HTTP status; None if no answer came, or nothing was sent."""
        status: int | None = getattr(self, "status", None)
        return status

    @property
    def error_code(self) -> str | None:
        """The service's name for what happened, such as "idempotency_conflict"; None if it gave none."""
        code: str | None = getattr(self, "code", None)
        return code


class ConfigurationError(PictographError, standard.ConfigurationError):
    """
    There is no API key, or a setting such as the base URL cannot be used.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Set `PICTOGRAPH_API_KEY` or pass `api_key`; the message names the setting.

    ## Source
    - Error handling, "Hierarchy" and "When each fires"
    """


class PictographValueError(PictographError, standard.UsageError):
    """
    An argument cannot be used.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Change the argument that the message names.
    """


class PictographTypeError(PictographValueError, standard.ArgumentTypeError):
    """
    An argument has the wrong type. Also a `TypeError`.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Pass the type that the message asks for.
    """


class PictographCallError(PictographError, CallError):
    """
    A call was made and did not succeed: all of the exceptions that have a `failure`.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Log `request_id`, `error_code` and `idempotency_key`.
    """


class AuthError(PictographCallError, standard.AuthenticationError):
    """
    401: the API key is missing, wrong, revoked or expired.

    ## Was it carried out?
    No.

    ## What to do
    Re-issue the key.

    ## Source
    - Error handling, "When each fires"
    """


class ForbiddenError(PictographCallError, standard.PermissionDeniedError):
    """
    403: the role of the API key does not allow this, such as a write with a viewer's key.

    ## Was it carried out?
    No.

    ## What to do
    Use a key of a member or an admin.

    ## Source
    - Error handling, "When each fires"
    """


class NotFoundError(PictographCallError, standard.NotFoundError):
    """
    404: there is no such dataset, image, run, model, export or job. Names are case-sensitive.

    ## Was it carried out?
    No.

    ## What to do
    Compare with `client.datasets.list()`.

    ## Source
    - Error handling, "When each fires"
    """


class ConflictError(PictographCallError, standard.ConflictError):
    """
    409: the name is taken, somebody else changed the thing meanwhile, or the idempotency key was used
    with another body (`error_code` is then "idempotency_conflict").

    ## Was it carried out?
    No. While the first request with a key is still being carried out, it is unknown (`effect`).

    ## What to do
    For an image: pass `skip_existing=True` to `upload_folder`, or use a new name. For a change: read
    the current version and decide again. For a key: use a new one for a new request.

    ## Source
    - Error handling, "When each fires" and "Idempotency"
    """


class ValidationError(PictographCallError, standard.InvalidRequestError):
    """
    422: the payload was refused, such as an annotation with `class` instead of `name`.

    ## Was it carried out?
    No.

    ## What to do
    Change what `errors` names. The same request fails again.

    ## Source
    - Error handling, "ValidationError details"
    """

    usual_status = 422

    def headline(self) -> str:
        """What went wrong, for a person: the message, and every field that it does not tell of."""
        head = super().headline()
        told = [str(field) for field in self.fields if (field.message or "") not in head or not head]
        fields = "; ".join(told)
        return f"{head.rstrip('.')}: {fields}" if head and fields else head or fields

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Every field that was refused: `loc` (a list of names and indexes), `msg` and `type`."""
        return [{"loc": [*f.path], "msg": f.message or "", "type": f.code or ""} for f in self.fields]


class PaymentRequiredError(PictographCallError, standard.PaymentRequiredError):
    """
    402: the credits do not suffice.

    ## Was it carried out?
    No.

    ## What to do
    Show `upgrade_url` to the user.

    ## Source
    - Error handling, "PaymentRequiredError details"
    """

    @property
    def required(self) -> float | None:
        """Credits that the call needs; None if the service does not say."""
        return _number(self.failure.details.get("required"))

    @property
    def remaining(self) -> float | None:
        """Credits that are left; None if the service does not say."""
        return _number(self.failure.details.get("remaining"))

    @property
    def upgrade_url(self) -> str | None:
        """Where credits are to be had; None if the service does not say."""
        url = self.failure.details.get("upgrade_url")
        return url if isinstance(url, str) else None


class RateLimitError(PictographCallError, standard.RateLimitError):
    """
    429: too many requests with this key.

    ## Was it carried out?
    No.

    ## What to do
    The client has waited and tried again already, unless the service asks for more than 120 s
    (`retry_after`): come back then, or send less.

    ## Source
    - Error handling, "Retry behavior"
    """


class ServerError(PictographCallError, standard.ServerError):
    """
    5xx: the service failed.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    The client has tried again already. Report `request_id`; repeat a write only with the same
    `idempotency_key`.

    ## Source
    - Error handling, "Retry behavior"
    """


class NetworkError(PictographCallError, standard.TransportError):
    """
    No usable answer came: connecting, DNS, TLS, a connection that broke, an answer that is cut short.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Repeat what is idempotent, or has the same `idempotency_key`; look into the rest.

    ## Source
    - Error handling, "When each fires"
    """


class RequestTimeoutError(PictographCallError, standard.CallTimeoutError):
    """
    The time allowed was over: for one wait (`timeout`) on the last try, or for the whole call
    (`deadline`).

    ## Was it carried out?
    See `effect`: no if nothing was sent, otherwise unknown.

    ## What to do
    Allow more time, or repeat with the same `idempotency_key`.

    ## Source
    - Error handling, "Hierarchy"
    """


class PollTimeoutError(PictographCallError, standard.PollTimeoutError):
    """
    A job was not finished in the time allowed for waiting. It goes on.

    ## Was it carried out?
    It is under way.

    ## What to do
    Look again with `client.training.get(error.run_id)`, from any process.

    ## Source
    - Error handling, "PollTimeoutError + recovery"
    """

    @property
    def run_id(self) -> str | None:
        """The id of the job: of the training run, the export or the batch that was waited for."""
        return self.job_id


class UploadError(PictographCallError, standard.UploadError):
    """
    A file could not be read, or it changed while it was sent.

    ## Was it carried out?
    No: the service stores an image only if all of it came, with the SHA-256 that was announced.

    ## What to do
    Upload the file when nobody writes to it.
    """


class FolderUploadError(PictographCallError, standard.BatchError):  # type: ignore[misc]  # as its base
    """
    Some files of a folder were not uploaded; `exceptions` has an error for each of them.

    ## Was it carried out?
    The files whose `results` say "uploaded" or "skipped" are stored; each error says it for its file.

    ## What to do
    Mend what the errors name, and upload the folder again with `skip_existing=True`.
    """

    @property
    def results(self) -> list[FileResult]:
        """What became of each file, in the order of the folder."""
        from pictograph.models import FileResult

        found = self.failure.details.get("results")
        return [FileResult.from_json(result) for result in found] if isinstance(found, list) else []


class ApiError(PictographCallError, standard.APIError):
    """
    An answer that is a failure, and that no other class stands for.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Read `status_code` and `error_code`; a proxy on the way is the likeliest author.

    ## Source
    - Error handling, "Hierarchy"
    """


class JobFailedError(ApiError, standard.JobFailedError):
    """
    A job of the service ran and failed.

    ## Was it carried out?
    It ran, and failed.

    ## What to do
    Read why, change the input, start another.
    """

    @property
    def run_id(self) -> str | None:
        """The id of the training run, the export or the batch."""
        return self.job_id


# The table loads the codec, which catching an exception does not need.
__getattr__ = exports(__name__, {"pictograph.contract": ("CONTRACT",)})[1]


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
