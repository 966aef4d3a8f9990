"""A Parakeet model on ONNX Runtime through onnx-asr: the calls into both, and nothing else."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx_asr
import onnxruntime
from numpy.typing import NDArray
from onnx_asr.utils import ModelLoadingError

from fanscribe_handlers.engine import OutOfMemory
from fanscribe_handlers.models import ModelMissing
from fanscribe_handlers.parakeet.words import FRAME_S, LONGEST_TOKEN_FRAMES, Token

_LEAST_SAMPLES = 8000  # half a second: the features of less cannot be normalised over time


class ParakeetOnnxModel:
    """A TDT model that NeMo exported: encoder-model, decoder_joint-model, vocab.txt and config.json.

    `quantization` is the middle of the file names (int8), None for files in full precision. `threads` is the number
    of CPU threads. Raises ModelMissing for a folder without the files.
    """

    def __init__(self, folder: Path, name: str, threads: int, quantization: str | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that wait by spinning take the cores away from other processes of the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._model = onnx_asr.load_model(
                "nemo-conformer-tdt", folder, quantization=quantization, sess_options=options
            ).with_timestamps()
        except (ModelLoadingError, FileNotFoundError) as error:
            raise ModelMissing(name, [str(error)]) from error

    def hear(self, sounds: Sequence[NDArray[np.float32]]) -> list[list[Token]]:
        """The tokens of each sound, times from its start. A batch that does not fit into memory is halved once.

        Raises OutOfMemory.
        """
        try:
            return self._hear(sounds)
        except Exception as error:  # ONNX Runtime has its own, which is no RuntimeError
            if not _is_out_of_memory(error):
                raise
            if len(sounds) == 1:
                raise _too_large() from error
        half = (len(sounds) + 1) // 2
        try:
            return self._hear(sounds[:half]) + self._hear(sounds[half:])
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise _too_large() from error

    def _hear(self, sounds: Sequence[NDArray[np.float32]]) -> list[list[Token]]:
        padded = [np.pad(sound, (0, max(0, _LEAST_SAMPLES - len(sound)))) for sound in sounds]
        return [
            list(_tokens(found.tokens or [], found.timestamps or [], found.logprobs or []))
            for found in self._model.recognize(padded)
        ]


def _tokens(pieces: list[str], starts: list[float], logprobs: list[float]) -> Iterator[Token]:
    """The library keeps no durations: a token lasts until the next one, at most as long as the model can skip."""
    longest_s = LONGEST_TOKEN_FRAMES * FRAME_S
    ends = [min(after, start + longest_s) for start, after in pairwise(starts)]
    ends += [start + longest_s for start in starts[-1:]]
    for piece, start, end, logprob in zip(pieces, starts, ends, logprobs, strict=True):
        yield Token(piece, start, end, min(1.0, math.exp(logprob)))


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or "failed to allocate" in text
        or "bad_alloc" in text
        or "bad allocation" in text
    )


def _too_large() -> OutOfMemory:
    return OutOfMemory(
        "the audio does not fit into memory with the model: send a shorter clip, or take a machine with more memory"
    )
