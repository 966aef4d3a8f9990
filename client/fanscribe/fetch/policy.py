"""What may be fetched, how much of it, and how long it may take; and what a fetch gives back."""

from dataclasses import dataclass

DEFAULT_MAX_BYTES = 2_000_000_000
"""The largest audio file that is fetched, in bytes, unless the environment (FANSCRIBE_MAX_BYTES) says otherwise."""


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """Limits of one fetch; the defaults suit a worker that takes URLs from strangers.

    `allowed_origins` ("http://127.0.0.1:8000") may be plain http and may have a private address, when the
    caller names them itself: a redirect from elsewhere never leads into them.
    """

    max_bytes: int = DEFAULT_MAX_BYTES
    max_redirects: int = 5
    attempts: int = 4
    """Connections in all, the first one included; each but the first resumes where the one before broke."""
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    """The longest silence of the server."""
    total_timeout_s: float = 1800.0
    allow_http: bool = False
    allow_private: bool = False
    allowed_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was written: bytes, a name for messages and files (without folders), SHA-256 in hex."""

    size_bytes: int
    name: str
    sha256: str
