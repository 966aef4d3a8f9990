"""A Parakeet model in NeMo: the calls into NeMo and PyTorch, and nothing else.

NeMo's `transcribe` writes temporary files, makes a data loader a call, and cannot be stopped. Its parts are public:
the model's forward pass gives encoder frames, its decoding gives hypotheses; they are called here directly.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf, open_dict

from fanscribe_handlers.engine import OutOfMemory
from fanscribe_handlers.models import ModelMissing
from fanscribe_handlers.parakeet.words import FRAME_S, Token

logging.getLogger("nv_one_logger").setLevel(logging.ERROR)  # NVIDIA's telemetry says at length that it is off
with warnings.catch_warnings():
    # NeMo and Lightning warn at import about optional parts that are not installed.
    warnings.simplefilter("ignore")
    import nemo.collections.asr as nemo_asr
    from nemo.utils import logging as nemo_logging

Step = Callable[[float], None]
"""Called while a batch is heard with the share of it that is done, 0 to 1; what it raises stops the batch."""

LOCAL_CONTEXT = (256, 256)
"""Encoder frames to each side that local attention looks at: 20.5 s. NVIDIA's choice for long audio with these
models (NeMo's documentation of Fast Conformer, "Inference on long audio")."""

_BOOST = 1.0
"""Weight of the key terms against the model's own scores; NeMo's default for its phrase boosting."""

_LEAST_SAMPLES = 8000  # half a second: the features of less cannot be normalised over time

_BUDGET_SHARE = 0.6
"""Share of the free GPU memory that a batch is planned for; the rest is for fragmentation and the decoder."""

BYTES_PER_S = {2: 6_500_000, 4: 13_000_000}
"""Bytes of working memory for a second of audio, by bytes a number. Measured on an encoder of the real width with two
layers (a layer's memory is free before the next): 300 s with full attention take 6.5 MB a second in bfloat16, 12.0 in
float32; shorter audio takes less, since the square of the length shrinks faster, and so does local attention."""

_CPU_BATCH_S = 120.0


class ParakeetModel:
    """A TDT model, on the GPU where there is one.

    `precision` is bfloat16, float16 or float32; None takes bfloat16 where the GPU has it, else float16, and
    float32 on the CPU. `threads` is the number of CPU threads. Raises ModelMissing for a folder without a model.
    """

    def __init__(self, folder: Path, name: str, threads: int, precision: str | None) -> None:
        files = sorted(folder.glob("*.nemo"))
        if len(files) != 1:
            raise ModelMissing(name, [f"{folder} has {len(files)} files named *.nemo and must have one"])
        nemo_logging.setLevel(nemo_logging.ERROR)
        torch.set_num_threads(threads)
        self.on_gpu = torch.cuda.is_available()
        self._device = torch.device("cuda" if self.on_gpu else "cpu")
        self._dtype = getattr(torch, precision or self._usual_precision())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = nemo_asr.models.ASRModel.restore_from(str(files[0]), map_location=self._device)
        self._model.freeze()  # evaluation mode, no gradients
        self._model.to(self._dtype)
        self._free()  # of the float32 weights
        self._model.preprocessor.featurizer.dither = 0.0
        self._model.preprocessor.featurizer.pad_to = 0
        self._vocabulary: int = self._model.tokenizer.vocab_size + 1  # with the blank
        self._is_local = False
        self._keyterms: tuple[str, ...] = ()
        self._step: Step = lambda share: None
        layers = self._model.encoder.layers
        for number, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(self._at_layer, number / (len(layers) + 1)))
        self._last_layer = len(layers) / (len(layers) + 1)
        self._decode_with(())

    def _usual_precision(self) -> str:
        if not self.on_gpu:
            return "float32"
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"

    @property
    def batch_s(self) -> float:
        """Seconds of audio that a batch may hold in what memory is free now."""
        if not self.on_gpu:
            return _CPU_BATCH_S
        free, _ = torch.cuda.mem_get_info()
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return float(_BUDGET_SHARE * free / BYTES_PER_S[self._dtype.itemsize])

    def attend(self, *, locally: bool) -> None:
        """Attend to LOCAL_CONTEXT frames around each frame, in memory that grows with the length, or to all frames."""
        if locally == self._is_local:
            return
        if locally:
            self._model.change_attention_model("rel_pos_local_attn", list(LOCAL_CONTEXT))
        else:
            self._model.change_attention_model("rel_pos", [-1, -1])
        # The convolutions in front have the largest tensors: in pieces where one would pass 2**31 values.
        self._model.change_subsampling_conv_chunking_factor(1)
        self._model.to(self._device, self._dtype)  # the new attention layers come as float32
        self._is_local = locally

    def hear(
        self, sounds: Sequence[NDArray[np.float32]], keyterms: tuple[str, ...], step: Step
    ) -> list[list[Token]]:
        """The tokens of each sound, times from its start. Raises OutOfMemory and what `step` raises.

        A batch that does not fit into memory is halved once.
        """
        if keyterms != self._keyterms:
            self._decode_with(keyterms)
        try:
            return self._hear(sounds, step)
        except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
            if not _is_out_of_memory(error):
                raise
            if len(sounds) == 1:
                raise _too_large() from error
        self._free()
        half = (len(sounds) + 1) // 2
        try:
            first = self._hear(sounds[:half], lambda share: step(share / 2))
            return first + self._hear(sounds[half:], lambda share: step(0.5 + share / 2))
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            self._free()
            raise _too_large() from error

    def _hear(self, sounds: Sequence[NDArray[np.float32]], step: Step) -> list[list[Token]]:
        self._step = step
        longest = max(_LEAST_SAMPLES, *(len(sound) for sound in sounds))
        padded = np.zeros((len(sounds), longest), dtype=np.float32)
        for row, sound in zip(padded, sounds, strict=True):
            row[: len(sound)] = sound
        lengths = [max(_LEAST_SAMPLES, len(sound)) for sound in sounds]
        try:
            with torch.inference_mode():
                encoded, frames = self._model.forward(
                    input_signal=torch.from_numpy(padded).to(self._device),
                    input_signal_length=torch.tensor(lengths, device=self._device),
                )
                step(self._last_layer)
                hypotheses = self._model.decoding.rnnt_decoder_predictions_tensor(
                    encoded, frames, return_hypotheses=True
                )
        finally:
            self._step = lambda share: None
        return [self._tokens(hypothesis) for hypothesis in hypotheses]

    def _at_layer(self, share: float, *_: object) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()  # calls only queue work: without, all layers would pass here at once
        self._step(share)

    def _tokens(self, hypothesis: Any) -> list[Token]:
        numbers = [int(number) for number in hypothesis.y_sequence]
        pieces: list[str] = self._model.tokenizer.ids_to_tokens(numbers)
        sure = hypothesis.token_confidence
        return [
            Token(
                piece.replace("\u2581", " "),
                int(start) * FRAME_S,
                (int(start) + int(frames)) * FRAME_S,
                self._probability(float(confidence)),
            )
            for piece, start, frames, confidence in zip(
                pieces, hypothesis.timestamp, hypothesis.token_duration, sure, strict=True
            )
        ]

    def _probability(self, confidence: float) -> float:
        """NeMo scales the best probability so that a blind guess counts as 0; this takes the scaling back."""
        probability: float = (confidence * (self._vocabulary - 1) + 1) / self._vocabulary
        return min(1.0, probability)

    def _decode_with(self, keyterms: tuple[str, ...]) -> None:
        """Greedy decoding in batches that keeps token durations and probabilities, and favours the key terms."""
        decoding = OmegaConf.create(OmegaConf.to_container(self._model.cfg.decoding, resolve=True))
        with open_dict(decoding):
            decoding.strategy = "greedy_batch"
            decoding.compute_timestamps = False  # NeMo's word times are made in Python, token by token
            decoding.tdt_include_token_duration = True
            decoding.confidence_cfg = {
                "preserve_frame_confidence": True,
                "preserve_token_confidence": True,
                "exclude_blank": True,
                "tdt_include_duration": False,
                "method_cfg": {"name": "max_prob", "alpha": 1.0},
            }
            decoding.greedy.boosting_tree = (
                {"key_phrases_list": list(keyterms), "use_triton": self.on_gpu} if keyterms else None
            )
            decoding.greedy.boosting_tree_alpha = _BOOST if keyterms else 0.0
        self._model.change_decoding_strategy(decoding, verbose=False)
        self._keyterms = keyterms

    def _free(self) -> None:
        if self.on_gpu:
            with suppress(RuntimeError):
                torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "alloc_failed" in text


def _too_large() -> OutOfMemory:
    return OutOfMemory(
        "the audio does not fit into memory with the model: send a shorter clip, or take a GPU with more memory"
    )
