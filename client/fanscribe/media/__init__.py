"""Recordings: probe the header, decode, resample to 16 kHz, split channels, cut, write FLAC (PyAV and numpy)."""

from fanscribe.media.convert import Decoded, Transcoded, blocks, decode, transcode
from fanscribe.media.length import check_length
from fanscribe.media.recording import SHORTEST_S, AudioFacts, Recording, opened, probe
from fanscribe.media.timeline import SAMPLE_RATE

__all__ = [
    "SAMPLE_RATE",
    "SHORTEST_S",
    "AudioFacts",
    "Decoded",
    "Recording",
    "Transcoded",
    "blocks",
    "check_length",
    "decode",
    "opened",
    "probe",
    "transcode",
]
