"""A result above the platform's limit: where it lies instead, or how it was made smaller."""

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_RESULT_BYTES = 1_000_000_000
"""A result is not unpacked beyond this: 1000 hours of words have some 1.5 GB, and no recording is that long."""

_LEVEL = 6


class Encoding(StrEnum):
    """What stands between the bytes that are there and the JSON of the result."""

    IDENTITY = "identity"
    GZIP_BASE64 = "gzip+base64"


class LargeResult(BaseModel):
    """What `result` holds in an answer that was too large: the rest of the answer is without its long fields.

    The whole answer is JSON of `size_bytes` bytes of UTF-8 with the SHA-256 `sha256` (hex), once `encoding` is undone.
    It lies at `uri` (s3://bucket/key), and at `url` until `url_expires_at` (seconds since 1970) where the store can
    give such addresses; or in `data` itself.
    """

    model_config = ConfigDict(extra="ignore")

    url: str | None = None
    url_expires_at: int | None = None
    uri: str | None = None
    data: str | None = None
    size_bytes: int = Field(ge=2, le=MAX_RESULT_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    encoding: Encoding = Encoding.IDENTITY

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.data is None and self.url is None and self.uri is None:
            raise ValueError("has neither url nor uri nor data")
        if (self.data is not None) != (self.encoding is Encoding.GZIP_BASE64):
            raise ValueError("data and the encoding gzip+base64 belong together")
        return self


def encoded(output: Mapping[str, Any]) -> bytes:
    """The JSON of an answer, as the platform's SDK sends it, in UTF-8."""
    return json.dumps(output, ensure_ascii=False).encode()


def compressed(body: bytes) -> LargeResult:
    """A result with its bytes inside."""
    data = base64.b64encode(gzip.compress(body, _LEVEL, mtime=0)).decode("ascii")
    return LargeResult(data=data, encoding=Encoding.GZIP_BASE64, **digest(body))


def digest(body: bytes) -> dict[str, Any]:
    """The fields that tell whether a result is whole."""
    return {"size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def unpacked(result: LargeResult) -> bytes:
    """The JSON of a result that has its bytes inside. Raises ValueError for what is damaged, or longer than said."""
    try:
        packed = base64.b64decode(result.data or "", validate=True)
        inflate = zlib.decompressobj(wbits=31)  # gzip
        body = inflate.decompress(packed, result.size_bytes + 1)
    except (zlib.error, ValueError) as error:
        raise ValueError("cannot be unpacked") from error
    return body


def checked(body: bytes, result: LargeResult) -> dict[str, Any]:
    """The answer that is spelled in `body`. Raises ValueError where it is not the one that was promised."""
    if digest(body) != {"size_bytes": result.size_bytes, "sha256": result.sha256}:
        raise ValueError(f"is not the {result.size_bytes} bytes that were promised")
    output = json.loads(body)
    if not isinstance(output, dict):
        raise ValueError("is no JSON object")
    return output
