"""A Sortformer model in NeMo: the calls into NeMo and PyTorch, and nothing else.

NeMo's `diarize` cannot be stopped and prints progress bars; the model's own steps are public and are called here.
"""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fanscribe_handlers.accelerator import device, free_bytes, release
from fanscribe_handlers.engine import SAMPLE_RATE
from fanscribe_handlers.halving import halve_once
from fanscribe_handlers.models import ModelMissing
from fanscribe_handlers.sortformer.options import Options
from fanscribe_handlers.sortformer.stitching import Probabilities, stitch
from fanscribe_handlers.sortformer.windows import FRAME, OVERLAP_S, SHORTEST_S, Window, lay_out, longest_s

with warnings.catch_warnings():
    # NeMo and Lightning warn at import about optional parts that are not installed.
    warnings.simplefilter("ignore")
    from nemo.collections.asr.models import SortformerEncLabelModel
    from nemo.utils import logging as nemo_logging

_log = logging.getLogger(__name__)

Progress = Callable[[float], None]

STREAMING = {
    "chunk_len": 340,
    "chunk_right_context": 40,
    "fifo_len": 40,
    "spkcache_update_period": 300,
    "spkcache_len": 188,
}
"""How a streaming model goes through a recording, in frames of 80 ms: "very high latency" (30.4 s) of NVIDIA's card of
diar_streaming_sortformer_4spk-v2.1. It is the most accurate and the fastest, and nobody waits for the first word."""


class SortformerModel:
    """The model of the one .nemo file in `folder`, on the GPU where there is one.

    Raises ModelMissing for a folder without one. An offline model takes recordings of up to `window_s` seconds in one
    pass and longer ones in overlapping windows; a streaming model goes through with its own memory of the speakers.
    """

    def __init__(self, folder: Path, name: str, options: Options, threads: int) -> None:
        files = sorted(folder.glob("*.nemo"))
        if len(files) != 1:
            raise ModelMissing(name, [f"{folder} has {len(files)} files named *.nemo and must have one"])
        nemo_logging.setLevel(nemo_logging.ERROR)
        torch.set_num_threads(threads)
        self._device = device()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model: Any = SortformerEncLabelModel.restore_from(str(files[0]), map_location=self._device)
        self._model.freeze()  # evaluation mode, no gradients
        self._model.preprocessor.featurizer.dither = 0.0
        self._model.preprocessor.featurizer.pad_to = 0
        self._streams = bool(self._model.streaming_mode)
        if self._streams:
            for setting, frames in STREAMING.items():
                setattr(self._model.sortformer_modules, setting, frames)
            self._model.sortformer_modules._check_streaming_parameters()
        self._half = options.precision == "bfloat16" and _has_bfloat16(self._device)
        self._step: Callable[[], None] = lambda: None
        self._layers = [*self._model.encoder.layers, *self._model.transformer_encoder.layers]
        for layer in self._layers:
            layer.register_forward_pre_hook(lambda *_: self._step())
        self.window_s = options.window_s or longest_s(free_bytes(self._device))
        _log.info("%s runs on %s, %s", name, self._device, "streaming" if self._streams else self.window_s)

    @property
    def speakers(self) -> int:
        """How many people the model tells apart."""
        return int(self._model.sortformer_modules.n_spk)

    def hear(self, samples: NDArray[np.float32], progress: Progress) -> Probabilities:
        """Who speaks in each frame of FRAME samples, (frames, speakers).

        `progress` is called with the share done, 0 to 1, before each layer of the network; what it raises ends the
        work. Out of memory, it tries once more with windows (or chunks, of a streaming model) half as long, which
        later recordings keep. Raises OutOfMemory.
        """
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            if self._streams:
                return halve_once(
                    self._model.sortformer_modules.chunk_len,
                    lambda frames: self._stream(samples, frames, progress),
                    release=release,
                )
            whole_s = -(-len(samples) // SAMPLE_RATE)
            return halve_once(
                min(self.window_s, whole_s),
                lambda window_s: self._in_windows(samples, window_s, progress),
                least=SHORTEST_S // 2,
                release=release,
            )

    def _in_windows(self, samples: NDArray[np.float32], window_s: int, progress: Progress) -> Probabilities:
        if len(samples) > window_s * SAMPLE_RATE:  # else it says how long the recording is
            self.window_s = window_s
        windows = lay_out(len(samples), window_s, min(OVERLAP_S, window_s / 3))
        parts = []
        for number, window in enumerate(windows):
            parts.append(self._window(samples, window, partial(_within, progress, number, len(windows))))
        return stitch(parts, windows)

    def _window(self, samples: NDArray[np.float32], window: Window, progress: Progress) -> Probabilities:
        """The probabilities of one window, exactly one row a frame."""
        begun = 0

        def step() -> None:
            nonlocal begun
            progress(begun / len(self._layers))
            begun += 1

        self._step = step
        try:
            found = self._model.forward(*self._signal(samples[window.samples]))
        finally:
            self._step = lambda: None
        return _rows(found, window.last - window.first)

    def _stream(self, samples: NDArray[np.float32], chunk: int, progress: Progress) -> Probabilities:
        """The probabilities of a whole recording: NeMo's forward_streaming, without its progress bar."""
        model, modules = self._model, self._model.sortformer_modules
        modules.chunk_len = chunk
        mels, length = model.process_signal(*self._signal(samples))
        mels = mels[:, :, : length.max()]
        state = modules.init_streaming_state(
            batch_size=1, async_streaming=model.async_streaming, device=self._device
        )
        found = torch.zeros((1, 0, self.speakers), device=self._device)
        chunks = modules.streaming_feat_loader(
            feat_seq=mels, feat_seq_length=length, feat_seq_offset=torch.zeros_like(length)
        )
        total = -(-mels.shape[2] // (modules.chunk_len * modules.subsampling_factor))
        self._step = partial(progress, 0.0)
        try:
            for number, part, lengths, left, right in chunks:
                self._step = partial(progress, number / total)
                state, found = model.forward_streaming_step(
                    processed_signal=part,
                    processed_signal_length=lengths,
                    streaming_state=state,
                    total_preds=found,
                    left_offset=left,
                    right_offset=right,
                )
        finally:
            self._step = lambda: None
        return _rows(found, -(-len(samples) // FRAME))

    def _signal(self, samples: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
        signal = torch.from_numpy(samples)[None].to(self._device)
        return signal, torch.tensor([len(samples)], device=self._device)


def _within(progress: Progress, done: int, total: int, share: float) -> None:
    """Report a share of one of `total` equal parts, after `done` whole ones."""
    progress((done + share) / total)


def _rows(found: torch.Tensor, frames: int) -> Probabilities:
    """The answer for a batch of one, with exactly `frames` rows: the last may be padding, or missing."""
    values: Probabilities = found[0].float().cpu().numpy()
    return np.pad(values[:frames], ((0, max(0, frames - len(values))), (0, 0)))


def _has_bfloat16(on: torch.device) -> bool:
    return on.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))
