"""
A client for the Pictograph API: datasets of images, what is annotated in them, and models that learn it.

    from pictograph import Client
    from pictograph.exceptions import PictographError
    from pictograph.workflows import train_pipeline, upload_folder

    with Client() as client:
        upload_folder(client, "street", "photos/", skip_existing=True)
        run, model = train_pipeline(client, "street", pipeline="yolox")

Every name below is loaded when it is first used, so that catching an error loads no HTTP engine.
"""

from __future__ import annotations

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pictograph.client import AsyncClient as AsyncClient
    from pictograph.client import Client as Client
    from pictograph.contract import CONTRACT as CONTRACT
    from pictograph.exceptions import ApiError as ApiError
    from pictograph.exceptions import AuthError as AuthError
    from pictograph.exceptions import ConfigurationError as ConfigurationError
    from pictograph.exceptions import ConflictError as ConflictError
    from pictograph.exceptions import FolderUploadError as FolderUploadError
    from pictograph.exceptions import ForbiddenError as ForbiddenError
    from pictograph.exceptions import JobFailedError as JobFailedError
    from pictograph.exceptions import NetworkError as NetworkError
    from pictograph.exceptions import NotFoundError as NotFoundError
    from pictograph.exceptions import PaymentRequiredError as PaymentRequiredError
    from pictograph.exceptions import PictographCallError as PictographCallError
    from pictograph.exceptions import PictographError as PictographError
    from pictograph.exceptions import PictographTypeError as PictographTypeError
    from pictograph.exceptions import PictographValueError as PictographValueError
    from pictograph.exceptions import PollTimeoutError as PollTimeoutError
    from pictograph.exceptions import RateLimitError as RateLimitError
    from pictograph.exceptions import RequestTimeoutError as RequestTimeoutError
    from pictograph.exceptions import ServerError as ServerError
    from pictograph.exceptions import UploadError as UploadError
    from pictograph.exceptions import ValidationError as ValidationError
    from pictograph.models import Annotation as Annotation
    from pictograph.models import AnnotationSet as AnnotationSet
    from pictograph.models import AutoAnnotation as AutoAnnotation
    from pictograph.models import BBox as BBox
    from pictograph.models import Credits as Credits
    from pictograph.models import Dataset as Dataset
    from pictograph.models import Export as Export
    from pictograph.models import FileResult as FileResult
    from pictograph.models import Image as Image
    from pictograph.models import Import as Import
    from pictograph.models import Job as Job
    from pictograph.models import JobError as JobError
    from pictograph.models import Organization as Organization
    from pictograph.models import Page as Page
    from pictograph.models import Point as Point
    from pictograph.models import Prediction as Prediction
    from pictograph.models import TrainedModel as TrainedModel
    from pictograph.models import TrainingRun as TrainingRun
    from pictograph.workflows import train_pipeline as train_pipeline
    from pictograph.workflows import train_pipeline_async as train_pipeline_async
    from pictograph.workflows import upload_folder as upload_folder
    from pictograph.workflows import upload_folder_async as upload_folder_async

# Where each name lives. The reader's list is above; a test holds that both say the same.
_HOMES = {
    "pictograph.client": ("AsyncClient", "Client"),
    "pictograph.contract": ("CONTRACT",),
    "pictograph.exceptions": (
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
    ),
    "pictograph.models": (
        "Annotation",
        "AnnotationSet",
        "AutoAnnotation",
        "BBox",
        "Credits",
        "Dataset",
        "Export",
        "FileResult",
        "Image",
        "Import",
        "Job",
        "JobError",
        "Organization",
        "Page",
        "Point",
        "Prediction",
        "TrainedModel",
        "TrainingRun",
    ),
    "pictograph.workflows": (
        "train_pipeline",
        "train_pipeline_async",
        "upload_folder",
        "upload_folder_async",
    ),
}

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # made from the list above
