"""What a task may ask of a Parakeet model, and what becomes of the rest. Pure; the same for both runtimes."""

from fanscribe.contracts.task import TranscribeInput
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import InvalidTask

PROMPT_IGNORED = "prompt was ignored: Parakeet hears no text before the speech; a Whisper variant does"
KEYTERMS_IGNORED = "keyterms were ignored: Parakeet favours terms only with NeMo, the family parakeet"


def refuse_impossible(asked: TranscribeInput, variant: Variant) -> None:
    """Raise InvalidTask for what the model cannot do: translate, or hear a language it was not trained on."""
    if asked.task == "translate":
        raise InvalidTask(f"field task: {variant.id} does not translate: take a Whisper variant that does")
    known = variant.capabilities.languages
    if asked.language is not None and known != "all" and asked.language not in known:
        raise InvalidTask(
            f"field language: {variant.id} does not know {asked.language!r}, only {', '.join(known)}: take another "
            "variant"
        )


def language_of(asked: TranscribeInput, variant: Variant) -> str | None:
    """The language of the answer: the one asked for, or the only one of the model.

    A model of several languages writes in the one it hears and does not say which: None.
    """
    known = variant.capabilities.languages
    if asked.language is not None:
        return asked.language
    return known[0] if known != "all" and len(known) == 1 else None
