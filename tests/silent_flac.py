"""FLAC files that hold hours of digital silence in a few bytes, with headers that say what they are told to."""

import struct
from collections.abc import Iterator

BLOCK = 65_535
"""Samples of one frame, the most that the format allows; a frame of silence has about 14 bytes."""


def silent_flac(seconds: int, *, claimed_s: int | None = None, rate: int = 8_000) -> bytes:
    """So many seconds of silence, mono, 16 bits; the header says `claimed_s` (None: the truth, 0: not known).

    Written by RFC 9639: a STREAMINFO block (section 8.2), then frames (section 9) of one constant subframe each.
    """
    frames = -(-seconds * rate // BLOCK)
    samples = frames * BLOCK if claimed_s is None else claimed_s * rate
    packed = rate << 44 | 0 << 41 | 15 << 36 | samples  # rate, channels - 1, bits - 1, samples
    info = struct.pack(">HH", BLOCK, BLOCK) + bytes(6) + packed.to_bytes(8) + bytes(16)
    return b"fLaC" + bytes([0x80]) + len(info).to_bytes(3) + info + b"".join(_frames(frames))


def _frames(count: int) -> Iterator[bytes]:
    for number in range(count):
        # Sync code of a fixed block size; 16 bits of block size follow, rate of STREAMINFO; mono, 16 bits.
        header = b"\xff\xf8\x70\x08" + chr_of(number) + struct.pack(">H", BLOCK - 1)
        frame = (
            header + bytes([_crc(header, 8, 0x07)]) + b"\x00\x00\x00"
        )  # a constant subframe of the value 0
        yield frame + struct.pack(">H", _crc(frame, 16, 0x8005))


def chr_of(number: int) -> bytes:
    """A frame's number, coded as UTF-8 codes a character (section 9.1.5), surrogates included."""
    return chr(number).encode("utf-8", "surrogatepass")


def _table(bits: int, polynomial: int) -> list[int]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


_TABLES = {(bits, polynomial): _table(bits, polynomial) for bits, polynomial in ((8, 0x07), (16, 0x8005))}


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, value = _TABLES[bits, polynomial], (1 << bits) - 1, 0
    for byte in data:
        value = (value << 8 ^ table[value >> (bits - 8) ^ byte]) & mask
    return value
