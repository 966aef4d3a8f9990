"""A wav2vec2 model with a CTC head in memory. Importing this module imports torch and transformers."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from fanscribe_handlers.accelerator import device, free_bytes, release
from fanscribe_handlers.align.characters import Characters, WrongVocabulary
from fanscribe_handlers.align.windows import HOP, Window
from fanscribe_handlers.engine import SAMPLE_RATE

_log = logging.getLogger(__name__)

_BYTES_PER_FRAME = 500_000
"""GPU memory that one frame (20 ms) of sound takes in float16, an estimate: the first convolution gives 64 steps of
512 channels a frame, held a few times over by its activation and norm."""

_SHARE = 0.5  # of the free memory
_MOST_FRAMES = 48_000  # 16 minutes at once; more keeps no GPU busier, and a cancelled task would end later
_ON_CPU_FRAMES = 1500  # 30 s at once


class Aligner:
    """The model in `model_dir`: config.json, vocab.json and the weights, as transformers saves them.

    Float16 on a GPU, float32 on the CPU. Raises WrongVocabulary, and OSError for a folder without a model.
    """

    def __init__(self, model_dir: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._on = device()
        self._type = torch.float16 if self._on.type == "cuda" else torch.float32
        self.characters = Characters.of(_vocabulary(model_dir))
        self._model: Any = Wav2Vec2ForCTC.from_pretrained(model_dir, dtype=self._type, local_files_only=True)
        self._model.to(self._on).eval()
        hop = int(np.prod(self._model.config.conv_stride))
        if hop != HOP:
            raise WrongVocabulary(
                f"the model in {model_dir} gives a frame every {hop} samples, not every {HOP}"
            )
        self._normalise = _normalises(model_dir)
        self.batch_frames = _frames_at_once(free_bytes(self._on))
        _log.info("the aligner runs on %s with %d frames at a time", self._on, self.batch_frames)

    def release(self) -> None:
        """Give cached GPU memory back."""
        release()

    def emissions(self, samples: NDArray[np.float32], windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        """Natural log probabilities of each window's wanted frames, shape (frames, vocabulary).

        `samples` is the whole recording; the windows must be of one length.
        """
        sounds = np.stack([samples[each.heard_first * HOP : each.heard_last * HOP] for each in windows])
        if self._normalise:
            # As transformers' feature extractor does for recordings without padding, but without its lists.
            sounds = (sounds - sounds.mean(1, keepdims=True)) / np.sqrt(sounds.var(1, keepdims=True) + 1e-7)
        with torch.inference_mode():
            given = torch.from_numpy(sounds).to(self._on, self._type)
            scores = self._model(given).logits.float()
            probabilities = torch.log_softmax(scores, dim=-1).cpu().numpy()
        return [
            every[each.first - each.heard_first : each.last - each.heard_first]
            for each, every in zip(windows, probabilities, strict=True)
        ]


def _vocabulary(model_dir: Path) -> dict[str, int]:
    path = model_dir / "vocab.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongVocabulary(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WrongVocabulary(f"{path} is not a table of tokens")
    # Models of several languages (MMS with adapters) keep one table a language.
    if content and all(isinstance(value, dict) for value in content.values()):
        raise WrongVocabulary(f"{path} has a table for each language: this aligner takes models with one")
    return {str(token): int(number) for token, number in content.items()}


def _normalises(model_dir: Path) -> bool:
    """Whether the model wants sound of zero mean and unit variance; the library's default where it does not say."""
    if (model_dir / "preprocessor_config.json").is_file():
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(model_dir, local_files_only=True)
        if extractor.sampling_rate != SAMPLE_RATE:
            raise WrongVocabulary(f"the model in {model_dir} wants sound of {extractor.sampling_rate} Hz")
        return bool(extractor.do_normalize)
    return True


def _frames_at_once(free: int) -> int:
    if free <= 0:
        return _ON_CPU_FRAMES
    return max(_ON_CPU_FRAMES, min(_MOST_FRAMES, int(free * _SHARE / _BYTES_PER_FRAME)))
