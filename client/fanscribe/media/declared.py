"""What a file says about its own length that FFmpeg does not pass on.

FFmpeg shortens the length of a cut WAV to what is there, guesses the length of an MP3 without saying so, and
takes any last page of an Ogg file for the end. Each function reads a few bytes and leaves the position as
it was.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fanscribe.media import sniff
from fanscribe.media.sniff import Readable

_STREAMED = (
    0,
    0xFFFFFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF - 36,
    0x7FFFFFFF - 36,
)  # sizes of writers that could not know
_OGG_TAIL = 1 << 17  # bytes; more than one whole page (65,307 at most, RFC 3533 section 6)
_END_OF_STREAM = 4


@contextmanager
def _kept_position(file: Readable) -> Iterator[None]:
    position = file.tell()
    try:
        yield
    finally:
        file.seek(position)


def wav_duration_s(file: Readable) -> float | None:
    """The seconds that the header of a RIFF WAV promises; None where it does not tell (RF64, streamed)."""
    with _kept_position(file):
        file.seek(0)
        if file.read(4) != b"RIFF":
            return None
        position, bytes_a_second = 12, 0
        for _ in range(64):  # chunks before the samples; a real file has a handful
            file.seek(position)
            header = file.read(8)
            size = int.from_bytes(header[4:8], "little")
            if header[:4] == b"fmt ":
                bytes_a_second = int.from_bytes(file.read(12)[8:12], "little")
            elif header[:4] == b"data":
                known = bytes_a_second > 0 and size not in _STREAMED
                return size / bytes_a_second if known else None
            if len(header) < 8:
                return None
            position += 8 + size + size % 2
    return None


def has_frame_count(file: Readable) -> bool:
    """Whether the first frame of an MP3 tells the number of frames (Xing, Info or VBRI header)."""
    with _kept_position(file):
        file.seek(0)
        start = sniff.after_tags(file)
        file.seek(start)
        head = file.read(4096)
    for name, flags_at in ((b"Xing", 4), (b"Info", 4), (b"VBRI", None)):
        at = head.find(name)
        if at >= 0:
            return flags_at is None or bool(int.from_bytes(head[at + flags_at : at + flags_at + 4]) & 1)
    return False


def ends_with_last_page(file: Readable) -> bool:
    """Whether the last page of an Ogg file carries the end-of-stream mark."""
    with _kept_position(file):
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _OGG_TAIL))
        tail = file.read(_OGG_TAIL)
    page = tail.rfind(b"OggS")
    return page >= 0 and len(tail) > page + 5 and bool(tail[page + 5] & _END_OF_STREAM)
