"""
HTTP APIs that fail well.

An error contract is declared once, as a codec between typed exceptions and HTTP answers. From it
come the client runtime, the service half, the error reference and the drill.

Every name below is loaded when it is first used, so that catching an exception costs no engine.
"""

from __future__ import annotations

from failwell.exports import exports
from failwell.version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell.answer import Answer as Answer
    from failwell.call.breaker import Breaker as Breaker
    from failwell.call.breaker import BreakerPolicy as BreakerPolicy
    from failwell.call.budget import RetryBudget as RetryBudget
    from failwell.call.messages import Response as Response
    from failwell.call.messages import Timeouts as Timeouts
    from failwell.call.operation import Operation as Operation
    from failwell.call.operation import Upload as Upload
    from failwell.call.retry import DocumentedWaits as DocumentedWaits
    from failwell.call.retry import RetryPolicy as RetryPolicy
    from failwell.client import AsyncClient as AsyncClient
    from failwell.client import Client as Client
    from failwell.client.streaming import AsyncEventStream as AsyncEventStream
    from failwell.client.streaming import EventStream as EventStream
    from failwell.contract import Contract as Contract
    from failwell.contract import Rule as Rule
    from failwell.contract import decode as decode
    from failwell.contract import raise_for as raise_for
    from failwell.engines.base import Connections as Connections
    from failwell.errors import APIError as APIError
    from failwell.errors import ArgumentTypeError as ArgumentTypeError
    from failwell.errors import AuthenticationError as AuthenticationError
    from failwell.errors import BadAnswerError as BadAnswerError
    from failwell.errors import BatchError as BatchError
    from failwell.errors import CallError as CallError
    from failwell.errors import CallTimeoutError as CallTimeoutError
    from failwell.errors import CircuitOpenError as CircuitOpenError
    from failwell.errors import ConfigurationError as ConfigurationError
    from failwell.errors import ConflictError as ConflictError
    from failwell.errors import ConnectError as ConnectError
    from failwell.errors import ConnectionLostError as ConnectionLostError
    from failwell.errors import DeadlineExceededError as DeadlineExceededError
    from failwell.errors import Error as Error
    from failwell.errors import IdempotencyMismatchError as IdempotencyMismatchError
    from failwell.errors import InvalidRequestError as InvalidRequestError
    from failwell.errors import JobFailedError as JobFailedError
    from failwell.errors import NotFoundError as NotFoundError
    from failwell.errors import OperationError as OperationError
    from failwell.errors import PaymentRequiredError as PaymentRequiredError
    from failwell.errors import PermissionDeniedError as PermissionDeniedError
    from failwell.errors import PollTimeoutError as PollTimeoutError
    from failwell.errors import QuotaExceededError as QuotaExceededError
    from failwell.errors import RateLimitError as RateLimitError
    from failwell.errors import RefusedError as RefusedError
    from failwell.errors import ServerError as ServerError
    from failwell.errors import StreamError as StreamError
    from failwell.errors import TooLargeError as TooLargeError
    from failwell.errors import TransportError as TransportError
    from failwell.errors import UnavailableError as UnavailableError
    from failwell.errors import UploadError as UploadError
    from failwell.errors import UsageError as UsageError
    from failwell.failure import Attempt as Attempt
    from failwell.failure import Effect as Effect
    from failwell.failure import Failure as Failure
    from failwell.failure import FieldError as FieldError
    from failwell.failure import RateLimit as RateLimit
    from failwell.interop import understand as understand
    from failwell.operations.batches import Batch as Batch
    from failwell.operations.batches import BatchItem as BatchItem
    from failwell.operations.batches import BatchResult as BatchResult
    from failwell.operations.downloads import Download as Download
    from failwell.operations.downloads import Downloaded as Downloaded
    from failwell.operations.parts import Part as Part
    from failwell.operations.parts import PartUpload as PartUpload
    from failwell.operations.parts import UploadSession as UploadSession
    from failwell.operations.parts import WholeFile as WholeFile
    from failwell.operations.polling import Poll as Poll
    from failwell.operations.polling import PollPolicy as PollPolicy
    from failwell.operations.resuming import ResumePolicy as ResumePolicy
    from failwell.operations.server_sent_events import ServerSentEvent as ServerSentEvent
    from failwell.operations.streams import Stream as Stream
    from failwell.redaction import Secret as Secret

# Where each name lives. The reader's list is above; a test holds that both say the same.
_HOMES = {
    "failwell.answer": ("Answer",),
    "failwell.call.breaker": ("Breaker", "BreakerPolicy"),
    "failwell.call.budget": ("RetryBudget",),
    "failwell.call.messages": ("Response", "Timeouts"),
    "failwell.call.operation": ("Operation", "Upload"),
    "failwell.call.retry": ("DocumentedWaits", "RetryPolicy"),
    "failwell.client": ("AsyncClient", "Client"),
    "failwell.contract": ("Contract", "Rule", "decode", "raise_for"),
    "failwell.engines.base": ("Connections",),
    "failwell.errors": (
        "APIError",
        "ArgumentTypeError",
        "AuthenticationError",
        "BadAnswerError",
        "BatchError",
        "CallError",
        "CallTimeoutError",
        "CircuitOpenError",
        "ConfigurationError",
        "ConflictError",
        "ConnectError",
        "ConnectionLostError",
        "DeadlineExceededError",
        "Error",
        "IdempotencyMismatchError",
        "InvalidRequestError",
        "JobFailedError",
        "NotFoundError",
        "OperationError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "PollTimeoutError",
        "QuotaExceededError",
        "RateLimitError",
        "RefusedError",
        "ServerError",
        "StreamError",
        "TooLargeError",
        "TransportError",
        "UnavailableError",
        "UploadError",
        "UsageError",
    ),
    "failwell.failure": ("Attempt", "Effect", "Failure", "FieldError", "RateLimit"),
    "failwell.interop": ("understand",),
    "failwell.operations.batches": ("Batch", "BatchItem", "BatchResult"),
    "failwell.operations.parts": ("Part", "PartUpload", "UploadSession", "WholeFile"),
    "failwell.operations.downloads": ("Download", "Downloaded"),
    "failwell.operations.polling": ("Poll", "PollPolicy"),
    "failwell.operations.resuming": ("ResumePolicy",),
    "failwell.operations.server_sent_events": ("ServerSentEvent",),
    "failwell.operations.streams": ("Stream",),
    "failwell.redaction": ("Secret",),
    "failwell.client.streaming": ("AsyncEventStream", "EventStream"),
}

__all__, __getattr__, __dir__ = exports(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # made from the list above
