"""Which container a recording is in, told from its first bytes alone.

The name of the file says nothing that can be trusted, and the demuxer's own guess is not used either: it
would also open playlists and lists of files, and then whatever those name. What is not on this list is
refused. Raw streams are recognised only by several frame headers in a row.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Readable(Protocol):
    """The part of a binary file that is used here."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as io.IOBase.seek."""

    def tell(self) -> int:
        """The position in bytes."""


HEAD_BYTES = 256 * 1024
"""How much of the file, from its first byte that is not an ID3 tag, is looked at."""

_MAX_TAGS = 8
_CHAIN = (
    4  # frame headers in a row; random bytes pass one of them in about 2000 times, four practically never
)


@dataclass(frozen=True, slots=True)
class Container:
    """A container on the allow-list. `demuxer` is FFmpeg's name for it, `label` the one that people use."""

    demuxer: str
    label: str


WAV = Container("wav", "wav")
W64 = Container("w64", "w64")
FLAC = Container("flac", "flac")
OGG = Container("ogg", "ogg")
AIFF = Container("aiff", "aiff")
CAF = Container("caf", "caf")
AMR = Container("amr", "amr")
AU = Container("au", "au")
ASF = Container("asf", "asf")
AVI = Container("avi", "avi")
MATROSKA = Container("matroska", "matroska")
MP4 = Container("mov", "mp4")
MPEG_TS = Container("mpegts", "mpegts")
MP3 = Container("mp3", "mp3")
ADTS = Container("aac", "aac")

READABLE = (
    "mp3, m4a, mp4, mov, 3gp, flac, wav, ogg, opus, webm, mkv, aac, amr, aiff, caf, w64, au, wma, avi, ts"
)

_MAGIC: tuple[tuple[int, bytes, Container], ...] = (
    (0, b"fLaC", FLAC),
    (0, b"OggS", OGG),
    (0, b"caff", CAF),
    (0, b"#!AMR", AMR),
    (0, b".snd", AU),
    (0, b"\x1aE\xdf\xa3", MATROSKA),
    (0, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", W64),
    (0, b"0&\xb2u\x8ef\xcf\x11", ASF),
    (4, b"ftyp", MP4),
    (4, b"moov", MP4),
    (4, b"mdat", MP4),
    (4, b"wide", MP4),
    (4, b"styp", MP4),
)
_TWO_PART: tuple[tuple[tuple[bytes, ...], tuple[bytes, ...], Container], ...] = (
    ((b"RIFF", b"RF64", b"BW64"), (b"WAVE",), WAV),
    ((b"RIFF",), (b"AVI ",), AVI),
    ((b"FORM",), (b"AIFF", b"AIFC"), AIFF),
)
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"BM", "an image"),
    (b"II*\x00", "an image"),
    (b"MM\x00*", "an image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"MThd", "a MIDI file, which holds notes and no sound"),
    (b"\x7fELF", "a program"),
)
_PLAYLISTS = (
    b"#extm3u",
    b"ffconcat",
    b"[playlist]",
    b"<?wpl",
    b"<asx",
    b"<smil",
    b"v=0",
    b"<mpd",
    b"#extinf",
)


def container(file: Readable) -> Container | None:
    """The container of an open, seekable file, or None for what is not on the list. Rewinds the file."""
    start = after_tags(file)
    file.seek(start)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return _by_magic(head) or _by_frames(head)


def stranger(file: Readable) -> str:
    """What a file that is no recording seems to be, as the end of the sentence "it is …". Rewinds the file."""
    head = file.read(4096)
    file.seek(0)
    for magic, kind in _STRANGERS:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "an image"
    if b"\0" not in head:
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith(_PLAYLISTS) or (start.startswith(b"<?xml") and b"<mpd" in start):
            return "a playlist, and files that name other files are not opened"
        if _is_text(head):
            return "text"
    return "in none of the formats that are read"


def after_tags(file: Readable) -> int:
    """Where the content begins, in bytes: behind the ID3v2 tags, and the padding after them, if there are any."""
    position = 0
    for _ in range(_MAX_TAGS):
        file.seek(position)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3" or any(byte & 0x80 for byte in tag[6:10]):
            break
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]  # 4 x 7 bits (id3.org, ID3v2.4 section 6.2)
        position += 10 + size + (10 if tag[5] & 0x10 else 0)
    if position:
        file.seek(position)
        padding = file.read(HEAD_BYTES)
        position += len(padding) - len(padding.lstrip(b"\0"))
    return position


def _by_magic(head: bytes) -> Container | None:
    for offset, magic, found in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return found
    for first, second, found in _TWO_PART:
        if head[:4] in first and head[8:12] in second:
            return found
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return MPEG_TS
    return None


def _by_frames(head: bytes) -> Container | None:
    """MP3 or ADTS by a chain of frame headers; whatever stands before the first of them is skipped."""
    position = head.find(b"\xff")
    while 0 <= position < len(head) - 6:
        for length, found in ((mpeg_frame_bytes, MP3), (_adts_frame_bytes, ADTS)):
            if _chained(head, position, length):
                return found
        position = head.find(b"\xff", position + 1)
    return None


def _chained(head: bytes, position: int, length: Callable[[bytes, int], int]) -> bool:
    first = position
    frames = 0
    while frames < _CHAIN:
        if position >= len(head) - 6:
            # A recording shorter than the chain counts when the frames fill it exactly from its first byte.
            return frames > 0 and first == 0 and len(head) < HEAD_BYTES and position >= len(head)
        size = length(head, position)
        if size == 0:
            return frames > 1 and head[position : position + 3] == b"TAG"
        position += size
        frames += 1
    return True


_BITRATES = {  # kbit/s by (MPEG-1 or later, layer), ISO/IEC 11172-3 table 2.4.2.3 and 13818-3
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)


def mpeg_frame_bytes(head: bytes, position: int) -> int:
    """The length of the MPEG audio frame whose header stands at `position`, or 0 when there is none."""
    word = int.from_bytes(head[position : position + 4])
    version, layer = word >> 19 & 3, word >> 17 & 3
    bitrate, rate = word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer == 0 or bitrate in (0, 15) or rate == 3:
        return 0
    layer = 4 - layer
    lsf = version != 3  # the lower sample rates of MPEG-2 and 2.5
    kbit = _BITRATES[(2, min(layer, 2)) if lsf else (1, layer)][bitrate - 1]
    hz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    padding = word >> 9 & 1
    if layer == 1:
        return (12_000 * kbit // hz + padding) * 4
    return (72_000 if lsf and layer == 3 else 144_000) * kbit // hz + padding


def _adts_frame_bytes(head: bytes, position: int) -> int:
    header = head[position : position + 7]
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5  # ISO/IEC 13818-7 section 6.2
    return size if size > 7 else 0


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return (
        bool(text) and sum(not (char.isprintable() or char in "\r\n\t\f") for char in text) < len(text) / 50
    )
