"""Objects in S3 and in stores that speak its language (R2, MinIO, Runpod's network volumes), through boto3.

Credentials come from where boto3 looks for them (the environment first), never from a request. The endpoint is
AWS_ENDPOINT_URL_S3, else AWS_ENDPOINT_URL, else Amazon's own.
"""

import os
import re
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fanscribe.contracts.errors import UsageError

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")

MAX_KEY_BYTES = 1024
"""The longest key that S3 takes, in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects")."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, line and paragraph separators
_VOLUME_HOST = re.compile(r"s3api-([a-z0-9-]+)\.runpod\.io")
_R2_HOST = re.compile(r".+\.r2\.cloudflarestorage\.com")

_making = threading.Lock()  # boto3's shared session must not be used by two threads that make clients


@dataclass(frozen=True, slots=True)
class Place:
    """An object, or the beginning of the keys of several."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def read_place(reference: str) -> Place:
    """What `s3://bucket/key` names; the key may be empty. Raises ValueError: what is wrong, without the reference.

    Keys that a volume would take for another folder's (`..`, a leading slash) are refused, and what is no name of a
    bucket, such as an ARN, since that could lead to another host.
    """
    scheme, _, rest = reference.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3" or not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise ValueError("names no bucket; write s3://bucket/key")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        size = 0  # a lone surrogate, which the next check refuses
    if any(unicodedata.category(char) in _UNSEEN for char in key):
        raise ValueError("has control characters in its key; rename the object")
    if size > MAX_KEY_BYTES:
        raise ValueError(f"has a key of {size:,} bytes, and {MAX_KEY_BYTES:,} are allowed; shorten it")
    if key.startswith("/") or any(part in (".", "..") for part in key.split("/")):
        raise ValueError(
            "has a key that leads out of its folder; write it without . and .. and a leading slash"
        )
    return Place(bucket, key)


def read_object(reference: str) -> Place:
    """As `read_place`, for one object: the key may not be empty, nor end as a folder's. Raises ValueError."""
    place = read_place(reference)
    if not place.key or place.key.endswith("/"):
        raise ValueError("names no object; write s3://bucket/key")
    return place


def endpoint_of(environ: Mapping[str, str] = os.environ) -> str | None:
    """The store's address where it is not Amazon's own."""
    return next((environ[name] for name in ENDPOINT_VARIABLES if environ.get(name)), None)


def region_of(endpoint: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The region to sign for; None leaves it to boto3.

    The host tells it where it can be no other: a volume's is its data centre (`s3api-eu-ro-1.runpod.io`), R2's is
    `auto`. boto3 itself does not read AWS_REGION.
    """
    host = urlsplit(endpoint or "").hostname or ""
    if volume := _VOLUME_HOST.fullmatch(host):
        return volume[1].upper()
    if _R2_HOST.fullmatch(host):
        return "auto"
    return next((environ[name] for name in REGION_VARIABLES if environ.get(name)), None)


def presigns(endpoint: str | None) -> bool:
    """Whether the store knows presigned URLs: Runpod's volumes do not."""
    return not is_volume(endpoint)


def is_volume(endpoint: str | None) -> bool:
    """Whether the store is a network volume of Runpod, which knows neither presigned URLs nor DeleteObjects."""
    return _VOLUME_HOST.fullmatch(urlsplit(endpoint or "").hostname or "") is not None


def s3_client(
    *,
    connect_timeout_s: float,
    read_timeout_s: float,
    attempts: int,
    connections: int = 10,
    environ: Mapping[str, str] = os.environ,
) -> Any:
    """A boto3 S3 client for the store that the environment names; safe to use from several threads.

    `attempts` counts the first one. Raises ImportError without boto3, UsageError where boto3 cannot be set up.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        max_pool_connections=connections,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        signature_version="s3v4",
        # Newer boto3 adds checksums of its own, which stores other than Amazon's refuse or do not keep.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    endpoint = endpoint_of(environ)
    try:
        with _making:
            return boto3.client(
                "s3", config=config, endpoint_url=endpoint, region_name=region_of(endpoint, environ)
            )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"S3: boto3 cannot be set up ({type(error).__name__}: {error})") from error
