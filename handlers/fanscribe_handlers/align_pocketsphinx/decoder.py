"""pocketsphinx: one acoustic model and its dictionary, and the search for words that are known."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder as _Decoder

from fanscribe_handlers.align.timing import Placed
from fanscribe_handlers.align_pocketsphinx.pronunciation import pronounce
from fanscribe_handlers.engine import SAMPLE_RATE

DICTIONARY = "cmudict-en-us.dict"

_FRAMES_PER_S = 100
_CENTRE_S = 0.0128
"""A frame is heard through a window of 25.6 ms from its start on, so its time is that window's centre. Without this,
words after a pause began 15 to 35 ms before their sound in recordings of people, and 54 ms before what the neural voice
of Piper reports."""
_BEAM = 1e-300
"""Paths this much less likely than the best are given up. The library's 1e-48 loses the right one in every
third sentence of a voice unlike those it was trained on (espeak-ng's male ones), 1e-100 in every sixth."""

_FILLER = re.compile(r"[<\[+]")  # <s>, <sil>, [NOISE], ++UM++
_VARIANT = re.compile(r"\(\d+\)$")  # read(2): the second pronunciation


class Decoder:
    """The model in `folder`. Its dictionary grows by the words that it lacks."""

    def __init__(self, folder: Path) -> None:
        # Not bestpath: its search in the lattice may end before the last words.
        self._decoder = _Decoder(
            hmm=str(folder),
            dict=str(folder / DICTIONARY),
            lm=None,
            samprate=SAMPLE_RATE,
            bestpath=False,
            beam=_BEAM,
            pbeam=_BEAM,
            wbeam=_BEAM,
            loglevel="FATAL",  # the others write what was said
        )

    def knows(self, word: str) -> bool:
        """Whether the dictionary has the word, or can be given a pronunciation of it, which is then done."""
        if self._decoder.lookup_word(word) is not None:
            return True
        phones = pronounce(word, self._decoder.lookup_word)
        if not phones:
            return False
        self._decoder.add_word(word, " ".join(phones), update=False)
        return True

    def align(self, words: Sequence[str], samples: NDArray[np.float32]) -> list[Placed] | None:
        """The span of each word, seconds in `samples` (mono, 16 kHz), or None where they cannot be found there.

        The dictionary must know every word, and there must be one.
        """
        self._decoder.set_align_text(" ".join(words))
        pcm = np.rint(samples * 32_767).clip(-32_768, 32_767).astype("<i2").tobytes()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        if self._decoder.hyp() is None:
            return None
        found = [segment for segment in self._decoder.seg() if not _FILLER.match(segment.word)]
        if [_VARIANT.sub("", segment.word) for segment in found] != list(words):
            return None
        length = len(samples) / SAMPLE_RATE
        return [
            Placed(
                min(length, segment.start_frame / _FRAMES_PER_S + _CENTRE_S),
                min(length, (segment.end_frame + 1) / _FRAMES_PER_S + _CENTRE_S),
            )
            for segment in found
        ]
