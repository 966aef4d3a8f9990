"""The settings of a variant of this family. No torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from fanscribe.contracts.variant import Variant
from fanscribe_handlers.sortformer.windows import LONGEST_S, SHORTEST_S

Precision = Literal["bfloat16", "float32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Options:
    """`window_s`: seconds in one pass of an offline model, None for what the GPU's memory allows.

    `precision`: of the network on a GPU. One that cannot calculate in bfloat16 takes float32.
    """

    window_s: int | None = None
    precision: Precision = "bfloat16"


def options_of(variant: Variant) -> Options:
    """The variant's options. Raises ValueError that names one which does not exist or cannot be."""
    given = dict(variant.options)
    window_s = given.pop("window_s", None)
    precision = given.pop("precision", "bfloat16")
    if given:
        raise ValueError(
            f"variant {variant.id}: there is no option {next(iter(given))!r}; use window_s, precision"
        )
    if window_s is not None and (not isinstance(window_s, int) or not SHORTEST_S <= window_s <= LONGEST_S):
        raise ValueError(
            f"variant {variant.id}: option window_s is {window_s!r}; "
            f"give whole seconds from {SHORTEST_S} to {LONGEST_S}"
        )
    for known in PRECISIONS:
        if precision == known:
            return Options(window_s, known)
    raise ValueError(f"variant {variant.id}: option precision is {precision!r}; give bfloat16 or float32")
