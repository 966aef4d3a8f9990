"""data: URIs (RFC 2397), in base64 or with percent escapes."""

import binascii
import re
from urllib.parse import unquote_to_bytes

from fanscribe.contracts.errors import AudioError
from fanscribe.fetch.policy import Fetched
from fanscribe.fetch.sink import Sink, Watch

_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


def fetch_data(reference: str, sink: Sink, watch: Watch) -> Fetched:
    """Write the bytes that a data: URI carries. Raises AudioError for a broken one."""
    header, comma, body = reference.partition(",")
    if not comma:
        raise AudioError(f"{watch.label}: has no comma; write data:audio/flac;base64,<the bytes>")
    if not _BASE64.search(header):
        # Escapes take up to three characters a byte, so this bounds the work before the size is known.
        sink.announce(len(body) // 3)
        data = unquote_to_bytes(body)
    else:
        data = _decoded(body, sink, watch)
    if not data:
        raise AudioError(f"{watch.label}: carries no bytes; put the audio behind the comma")
    sink.announce(len(data))
    sink.write(data, len(data))
    return sink.done("inline audio")


def _decoded(body: str, sink: Sink, watch: Watch) -> bytes:
    text = _SPACE.sub("", unquote_to_bytes(body).decode("latin-1") if "%" in body else body)
    text = (
        text.rstrip("=").replace("-", "+").replace("_", "/")
    )  # the URL alphabet and missing padding are common
    sink.announce(len(text) * 3 // 4)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise AudioError(f"{watch.label}: is not valid base64 ({error}); encode the file again") from error
