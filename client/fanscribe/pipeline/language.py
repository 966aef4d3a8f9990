"""The language of a recording, decided once from what the first chunks were heard to be in. Pure."""

from fanscribe.contracts.task import TranscribeOutput

ENOUGH_S = 20.0
"""Seconds of speech, weighted with the recogniser's certainty, on which the decision rests."""

MAJORITY = 0.7
"""The share of that weight which one language needs before all chunks were heard."""


class LanguageVote:
    """Collects what chunks were heard to be in. `decided` is the language once one is decided, or was known before."""

    def __init__(self, known: str | None = None) -> None:
        self.decided = known
        self._weights: dict[str, float] = {}
        self._clear = known is not None

    def add(self, output: TranscribeOutput) -> str | None:
        """Count an answer to a task that named no language. A chunk without words tells nothing.

        Gives the language, once, when it has become clear; it is for the caller to `decide`.
        """
        if output.language is None:
            return None
        speech_s = sum(segment.end - segment.start for segment in output.segments)
        certainty = 1.0 if output.language_probability is None else output.language_probability
        self._weights[output.language] = self._weights.get(output.language, 0.0) + speech_s * certainty
        leading, weight = self._leading()
        total = sum(self._weights.values())
        if self._clear or weight < ENOUGH_S or weight < MAJORITY * total:
            return None
        self._clear = True
        return leading

    def decide(self, language: str) -> None:
        """From now on chunks are asked for in this language. The first decision stays."""
        self.decided = self.decided or language

    def close(self) -> None:
        """Decide on what there is, when no more answers come."""
        leading, weight = self._leading()
        if leading is not None and weight > 0:
            self.decide(leading)

    def contradicts(self, output: TranscribeOutput) -> bool:
        """Whether a chunk was transcribed in another language than the recording's, words and all."""
        return self.decided is not None and bool(output.segments) and output.language != self.decided

    def _leading(self) -> tuple[str | None, float]:
        if not self._weights:
            return None, 0.0
        return max(self._weights.items(), key=lambda each: each[1])
