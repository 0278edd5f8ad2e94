"""
A client for the Scopix API: images, videos and documents, what is in them, and chats about them.

    from scopix import Scopix, ScopixError

    async with Scopix() as client:  # the key comes from SCOPIX_API_KEY
        try:
            results = await client.files.upload_batch("photos/*.jpg")
        except ScopixError as error:
            print(error.code, error.message, error.details)

`ScopixSync` has the same methods, blocking.

Every name below is loaded when it is first used, so that catching an error loads no HTTP engine.
"""

from __future__ import annotations

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from scopix.client import Scopix as Scopix
    from scopix.client import ScopixSync as ScopixSync
    from scopix.contract import CONTRACT as CONTRACT
    from scopix.errors import AuthenticationError as AuthenticationError
    from scopix.errors import ChatError as ChatError
    from scopix.errors import CircuitBreakerError as CircuitBreakerError
    from scopix.errors import CloudStorageError as CloudStorageError
    from scopix.errors import DescriptionError as DescriptionError
    from scopix.errors import DocumentProcessingError as DocumentProcessingError
    from scopix.errors import MissingKeyError as MissingKeyError
    from scopix.errors import PaymentRequiredError as PaymentRequiredError
    from scopix.errors import QuotaExceededError as QuotaExceededError
    from scopix.errors import RateLimitError as RateLimitError
    from scopix.errors import ResourceNotFoundError as ResourceNotFoundError
    from scopix.errors import S3ConnectorError as S3ConnectorError
    from scopix.errors import ScopixConfigurationError as ScopixConfigurationError
    from scopix.errors import ScopixConflictError as ScopixConflictError
    from scopix.errors import ScopixConnectionError as ScopixConnectionError
    from scopix.errors import ScopixError as ScopixError
    from scopix.errors import ScopixPermissionError as ScopixPermissionError
    from scopix.errors import ScopixTimeoutError as ScopixTimeoutError
    from scopix.errors import ScopixTypeError as ScopixTypeError
    from scopix.errors import ScopixValueError as ScopixValueError
    from scopix.errors import ServerError as ServerError
    from scopix.errors import SSEStreamError as SSEStreamError
    from scopix.errors import UploadError as UploadError
    from scopix.errors import ValidationError as ValidationError
    from scopix.errors import VideoAnalysisError as VideoAnalysisError
    from scopix.errors import VideoUploadError as VideoUploadError
    from scopix.errors import WaitTimeoutError as WaitTimeoutError
    from scopix.models import AnalysisResult as AnalysisResult
    from scopix.models import ChatEvent as ChatEvent
    from scopix.models import ChatMessage as ChatMessage
    from scopix.models import ChatSession as ChatSession
    from scopix.models import Chunk as Chunk
    from scopix.models import Citation as Citation
    from scopix.models import Colour as Colour
    from scopix.models import Connection as Connection
    from scopix.models import Connector as Connector
    from scopix.models import Description as Description
    from scopix.models import File as File
    from scopix.models import JobError as JobError
    from scopix.models import JobFile as JobFile
    from scopix.models import Page as Page
    from scopix.models import RemoteFile as RemoteFile
    from scopix.models import Scene as Scene
    from scopix.models import StorageJob as StorageJob
    from scopix.models import Usage as Usage
    from scopix.models import Video as Video
    from scopix.models import VideoAnalysis as VideoAnalysis
    from scopix.models import VideoUpload as VideoUpload
    from scopix.results import BatchUploadResults as BatchUploadResults
    from scopix.results import UploadResult as UploadResult

# Where each name lives. The reader's list is above; a test holds that both say the same.
_HOMES = {
    "scopix.client": (
        "Scopix",
        "ScopixSync",
    ),
    "scopix.contract": ("CONTRACT",),
    "scopix.errors": (
        "AuthenticationError",
        "ChatError",
        "CircuitBreakerError",
        "CloudStorageError",
        "DescriptionError",
        "DocumentProcessingError",
        "MissingKeyError",
        "PaymentRequiredError",
        "QuotaExceededError",
        "RateLimitError",
        "ResourceNotFoundError",
        "S3ConnectorError",
        "SSEStreamError",
        "ScopixConfigurationError",
        "ScopixConflictError",
        "ScopixConnectionError",
        "ScopixError",
        "ScopixPermissionError",
        "ScopixTimeoutError",
        "ScopixTypeError",
        "ScopixValueError",
        "ServerError",
        "UploadError",
        "ValidationError",
        "VideoAnalysisError",
        "VideoUploadError",
        "WaitTimeoutError",
    ),
    "scopix.models": (
        "AnalysisResult",
        "ChatEvent",
        "ChatMessage",
        "ChatSession",
        "Chunk",
        "Citation",
        "Colour",
        "Connection",
        "Connector",
        "Description",
        "File",
        "JobError",
        "JobFile",
        "Page",
        "RemoteFile",
        "Scene",
        "StorageJob",
        "Usage",
        "Video",
        "VideoAnalysis",
        "VideoUpload",
    ),
    "scopix.results": (
        "BatchUploadResults",
        "UploadResult",
    ),
}

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # made from the list above
