"""The settings of a variant of this family. No torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from fanscribe.contracts.variant import Variant

Precision = Literal["float16", "float32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Options:
    """`batch_size`: windows at a time, None for what the GPU's memory allows.

    `precision`: of the embedding's convolutions on a GPU. The rest of the pipeline is always float32.
    """

    batch_size: int | None = None
    precision: Precision = "float16"


def options_of(variant: Variant) -> Options:
    """The variant's options. Raises ValueError that names one which does not exist or cannot be."""
    given = dict(variant.options)
    size = given.pop("batch_size", None)
    precision = given.pop("precision", "float16")
    if given:
        raise ValueError(
            f"variant {variant.id}: there is no option {next(iter(given))!r}; use batch_size, precision"
        )
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"variant {variant.id}: option batch_size is {size!r}; give a whole number above 0")
    for known in PRECISIONS:
        if precision == known:
            return Options(size, known)
    raise ValueError(f"variant {variant.id}: option precision is {precision!r}; give float16 or float32")
