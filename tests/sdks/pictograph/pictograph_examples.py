"""The examples of Pictograph's document, as they stand there."""

from __future__ import annotations

IMPORTS = """
from pictograph.exceptions import (
    PictographError, AuthError, ForbiddenError, NotFoundError,
    ConflictError, ValidationError, PaymentRequiredError,
    RateLimitError, ServerError, NetworkError, RequestTimeoutError,
    PollTimeoutError, ApiError,
)
"""
SETTINGS = """
client = Client(timeout=30.0, max_retries=5)
"""
PAYMENT = """
from pictograph.exceptions import PaymentRequiredError

try:
    client.training.create(dataset_name, export_name, pipeline_type="yolox")
except PaymentRequiredError as e:
    print(f"Need {e.required} credits, you have {e.remaining}")
    print(f"Top up at: {e.upgrade_url}")
"""
VALIDATION = """
from pictograph.exceptions import ValidationError

try:
    client.annotations.save(image_id, [{"class": "person", "type": "bbox"}])
except ValidationError as e:
    print(e)            # human-readable summary
    print(e.errors)     # list of {"loc": [...], "msg": "...", "type": "..."}
"""
RECOVERY = """
from pictograph.exceptions import PollTimeoutError

try:
    run, model = train_pipeline(client, "ds", pipeline="yolox", timeout=60.0)
except PollTimeoutError as e:
    # Pick up later
    run_id = e.run_id  # most poll errors carry the resource ID
    run = client.training.get(run_id)
    if run.status == "completed":
        model = client.models.get(run.model_id)
"""
IDEMPOTENCY = """
client.images.upload(
    dataset_id=ds.id,
    file_path="x.jpg",
    idempotency_key="upload-x-jpg-2026-04-19",
)
"""
