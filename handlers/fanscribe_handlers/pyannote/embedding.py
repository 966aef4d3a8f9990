"""The speaker embedding, once for each window. Importing this module imports torch and pyannote.audio.

pyannote embeds every local voice of a window (three of them) by itself: the same 10 s go through the same convolutions
three times, since a voice's mask matters only in the pooling at their end. Here they go through once. That is the same
arithmetic (pyannote.audio's issue 2050: same DER on every file of VoxConverse dev, less than half the time in all).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet
from pyannote.audio.pipelines.speaker_verification import PyannoteAudioPretrainedSpeakerEmbedding

from fanscribe_handlers.pyannote.options import Precision


def can_share(embedding: Any) -> bool:
    """Whether this pyannote embedding is a network whose convolutions do not see the masks."""
    return isinstance(embedding, PyannoteAudioPretrainedSpeakerEmbedding) and isinstance(
        embedding.model_, BaseWeSpeakerResNet
    )


class WindowEmbedding(PyannoteAudioPretrainedSpeakerEmbedding):  # type: ignore[misc]
    """In place of pyannote's own embedding. `windows` is how many windows a full batch has."""

    def __init__(self, network: BaseWeSpeakerResNet, precision: Precision) -> None:
        super().__init__(network)
        self.windows = 1
        self._precision = precision

    def __call__(self, waveforms: torch.Tensor, masks: torch.Tensor | None = None) -> NDArray[np.float32]:
        """Vectors (rows, dimension) of the voices with `masks` (rows, frames) in `waveforms` (rows, 1, samples).

        Neighbouring rows with the same samples are voices of the same window.
        """
        if masks is None:
            whole: NDArray[np.float32] = super().__call__(waveforms)
            return whole
        new = [
            row == 0 or not torch.equal(waveforms[row], waveforms[row - 1]) for row in range(len(waveforms))
        ]
        window_of = torch.tensor(new).cumsum(0) - 1
        with torch.inference_mode():
            frames = self._frames(waveforms[torch.tensor(new)])
            vectors = self.model_.forward_embedding(frames[window_of.to(self.device)], masks.to(self.device))
        found: NDArray[np.float32] = vectors.float().cpu().numpy()
        return found

    def _frames(self, windows: torch.Tensor) -> torch.Tensor:
        """What the convolutions make of the windows (windows, 1, samples), in float32.

        The last batch of a recording is filled up to the size of the others: for a size that it has not seen, cuDNN may
        choose a way with a workspace of several GB (pyannote.audio's issue 1963: 10.5 instead of 1.8 GiB).
        """
        count = len(windows)
        if count < self.windows:
            windows = torch.cat([windows, windows.new_zeros(self.windows - count, *windows.shape[1:])])
        mels = self.model_.compute_fbank(windows.to(self.device))
        # The mel features stay in float32: the power of 16-bit samples is beyond the range of half precision.
        half = self._precision == "float16" and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.float16, enabled=half):
            frames: torch.Tensor = self.model_.resnet.forward_frames(mels)
        return frames[:count].float()
