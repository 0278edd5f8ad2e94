"""The examples of Scopix's document, as they stand there."""

from __future__ import annotations

BASE = """
from scopix import ScopixError

try:
    result = await client.files.upload_batch("image.jpg")
except ScopixError as e:
    print(f"Error code: {e.code}")
    print(f"Message: {e.message}")
    print(f"Details: {e.details}")
"""
AUTHENTICATION = """
from scopix import AuthenticationError

try:
    result = await client.files.upload_batch("image.jpg")
except AuthenticationError:
    print("Invalid API key - check your credentials")
"""
RATE_LIMIT = """
import asyncio
from scopix import RateLimitError

try:
    result = await client.files.upload_batch("image.jpg")
except RateLimitError as e:
    print(f"Rate limited: {e.message}")
    print(f"Retry after: {e.retry_after} seconds")
    await asyncio.sleep(e.retry_after or 5)
    result = await client.files.upload_batch("image.jpg")
"""
QUOTA = """
from scopix import QuotaExceededError

try:
    result = await client.files.upload_batch("image.jpg")
except QuotaExceededError as e:
    print(f"Quota exceeded: {e.message}")
    print(f"Available: {e.details.get('available')}")
    print(f"Limit: {e.details.get('limit')}")
"""
NOT_FOUND = """
from scopix import ResourceNotFoundError

try:
    details = await client.files.get(file_id="nonexistent")
except ResourceNotFoundError as e:
    print(f"Not found: {e.message}")
    print(f"Resource type: {e.details.get('resource_type')}")
    print(f"Resource ID: {e.details.get('resource_id')}")
"""
UPLOAD = """
from scopix import UploadError

try:
    result = await client.files.upload_batch("image.jpg")
except UploadError as e:
    print(f"Upload failed: {e.message}")
    print(f"Filename: {e.details.get('filename')}")
    print(f"Stage: {e.details.get('stage')}")
"""
DOCUMENT = """
from scopix import DocumentProcessingError

try:
    await client.files.delete("doc_abc123")
except DocumentProcessingError as e:
    print(f"Cannot process document: {e.message}")
    print(f"Document ID: {e.details.get('document_id')}")
"""
CLOUD_STORAGE = """
from scopix import CloudStorageError

try:
    job = await client.cloud_storage.import_and_wait(
        connection_id="conn_abc123",
        files=files,
    )
except CloudStorageError as e:
    print(f"Job failed: {e.message}")
    print(f"Job ID: {e.details.get('job_id')}")
    print(f"Status: {e.details.get('job_status')}")
"""
S3_CONNECTOR = """
from scopix import S3ConnectorError

try:
    job = await client.s3_connector.wait_for_job(job_id="job_abc123")
except S3ConnectorError as e:
    print(f"Job failed: {e.message}")
    print(f"Job ID: {e.details.get('job_id')}")
    print(f"Status: {e.details.get('job_status')}")
"""
VIDEO_ANALYSIS = """
from scopix import VideoAnalysisError

try:
    final = await client.video_analysis.wait_for_completion(job_id, timeout=600)
except VideoAnalysisError as e:
    print(f"Analysis failed for video {e.media_id}: {e.message}")
    # Optionally retry
    await client.video_analysis.retry(e.analysis_job_id, e.media_id)
"""
COMPREHENSIVE = """
from scopix import (
    Scopix,
    AuthenticationError,
    RateLimitError,
    QuotaExceededError,
    ValidationError,
    ScopixError,
)

async def safe_upload(client: Scopix, file):
    try:
        return await client.files.upload_batch(file)

    except AuthenticationError:
        print("Invalid API key")
        raise

    except RateLimitError as e:
        print(f"Rate limited. Retry after {e.retry_after}s")
        raise

    except QuotaExceededError as e:
        print(f"Quota exceeded: {e.details.get('available')}/{e.details.get('limit')}")
        raise

    except ValidationError as e:
        print(f"Invalid request: {e.message}")
        print(f"Details: {e.details}")
        raise

    except ScopixError as e:
        print(f"API error [{e.code}]: {e.message}")
        raise
"""
BACKOFF = """
import asyncio
from scopix import Scopix, RateLimitError, ServerError, ScopixConnectionError

async def upload_with_retry(client: Scopix, file, max_attempts=3):
    for attempt in range(max_attempts):
        try:
            return await client.files.upload_batch(file)

        except RateLimitError as e:
            if attempt < max_attempts - 1:
                wait = e.retry_after or (2 ** attempt)
                print(f"Rate limited, waiting {wait}s...")
                await asyncio.sleep(wait)
            else:
                raise

        except (ServerError, ScopixConnectionError):
            if attempt < max_attempts - 1:
                wait = 2 ** attempt
                print(f"Transient error, retrying in {wait}s...")
                await asyncio.sleep(wait)
            else:
                raise
"""
