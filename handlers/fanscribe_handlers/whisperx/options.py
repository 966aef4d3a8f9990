"""What a variant of this family says beside the contract, and how many windows fit into memory. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fanscribe.contracts.variant import Variant

_ALIGN = "align_"
_KINDS = {"diarizer": str, "compute_type": str, "beam_size": int, "batch_size": int}

WINDOW_BYTES = 400_000_000
"""GPU memory that one window of 30 s takes, bytes, an estimate: large-v3 in float16 with 5 beams keeps 51 MB of keys
and values a beam (32 layers, 1280 wide, 448 tokens, 2 bytes, kept twice) and its encoder's activations."""

MOST = 32
"""More windows at a time keep no GPU busier, and a cancelled task would end later."""

ON_CPU = 4

_SHARE = 0.5
"""Share of the free memory that windows may take: the aligner and the diarizer come after them."""


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a variant.

    `aligners` are repositories by language (`align_en: facebook/wav2vec2-base-960h`), `diarizer` is one too; both lie
    in sub-folders of the model's folder, as `also` puts them. `compute_type` is CTranslate2's name (default float16
    on a GPU, int8 on a CPU), `batch_size` the windows of 30 s at a time (by default what memory allows).
    """

    aligners: Mapping[str, str] = field(default_factory=dict)
    diarizer: str | None = None
    compute_type: str | None = None
    beam_size: int = 5
    batch_size: int | None = None


def options_of(variant: Variant) -> Options:
    """Read the options. Raises ValueError that names one which does not exist or holds the wrong thing."""
    known: dict[str, Any] = {}
    aligners: dict[str, str] = {}
    for name, value in variant.options.items():
        kind = str if name.startswith(_ALIGN) else _KINDS.get(name)
        if kind is None or type(value) is not kind or not value or (kind is int and int(value) < 1):
            raise ValueError(
                f"variant {variant.id}: option {name} is {value!r}; use align_LANGUAGE, diarizer and compute_type "
                "with a text, beam_size and batch_size with a whole number above 0"
            )
        if name.startswith(_ALIGN):
            aligners[name.removeprefix(_ALIGN)] = str(value)
        else:
            known[name] = value
    return Options(aligners=aligners, **known)


def windows_at_once(free_bytes: int) -> int:
    """Windows in one batch, a power of two from 1 to MOST, or ON_CPU where there is no GPU memory."""
    if free_bytes <= 0:
        return ON_CPU
    fitting = int(free_bytes * _SHARE / WINDOW_BYTES)
    return min(MOST, 1 << max(0, fitting.bit_length() - 1))
