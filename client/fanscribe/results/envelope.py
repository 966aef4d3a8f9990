"""How a kept value is written: a head line with a checksum, then compressed JSON. Pure."""

import hashlib
import json
import zlib
from typing import Any

MAX_VALUE_BYTES = 256_000_000
"""JSON larger than this is not unpacked: an answer has at most 10 MB, so it cannot be ours."""

_MAGIC = b"fanscribe-result-1"
_LEVEL = 1  # a tenth of the text either way; higher levels cost more CPU than the bytes are worth


class DamagedError(ValueError):
    """What was read is not what was written under this key."""


def pack(key: str, value: dict[str, Any]) -> bytes:
    """The bytes to keep. The checksum covers the key, so that a file in another's place is noticed."""
    body = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), _LEVEL)
    return b"%s %s\n%s" % (_MAGIC, _checksum(key, body), body)


def unpack(key: str, data: bytes) -> dict[str, Any]:
    """The value that `pack` was given. Raises DamagedError for anything else."""
    head, newline, body = data.partition(b"\n")
    if not newline or head != b"%s %s" % (_MAGIC, _checksum(key, body)):
        raise DamagedError("the checksum does not match")
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(body, MAX_VALUE_BYTES)
        value = json.loads(text) if inflate.eof else None
    except (zlib.error, ValueError) as error:
        raise DamagedError("not a value of ours") from error
    if not isinstance(value, dict):
        raise DamagedError("not a value of ours")
    return value


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + body).hexdigest().encode()
