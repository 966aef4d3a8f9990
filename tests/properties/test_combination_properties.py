"""Any parts that can be combined: what is derived holds for all of them, and survives the way to a worker."""

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.combination import combination_of, combine
from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Variant
from fanscribe.engines.checks import variant_faults
from fanscribe_handlers.combined.sides import Share
from fanscribe_handlers.settings import read_variant

KNOWN = load_catalogue().variants
SINGLE = [each for each in KNOWN.values() if len(each.stages) == 1 and "simulated" not in each.options]


def doing(stage: Stage) -> list[Variant]:
    return [each for each in SINGLE if each.stages[0] is stage]


@st.composite
def parts(draw: st.DrawFn) -> list[Variant]:
    """One recogniser, with an aligner, a diarizer or both, in any order."""
    chosen = [draw(st.sampled_from(doing(Stage.TRANSCRIBE)))]
    others = draw(st.sampled_from([[Stage.ALIGN], [Stage.DIARIZE], [Stage.ALIGN, Stage.DIARIZE]]))
    chosen += [draw(st.sampled_from(doing(stage))) for stage in others]
    return draw(st.permutations(chosen))


def combined(variants: Sequence[Variant]) -> Variant:
    return combine(combination_of([each.id for each in variants]), KNOWN)


@given(parts())
def test_it_needs_at_least_what_each_part_needs(variants: list[Variant]) -> None:
    whole = combined(variants)
    assert whole.hardware.min_ram_gb >= max(each.hardware.min_ram_gb for each in variants)
    assert whole.hardware.min_vram_gb >= max(each.hardware.min_vram_gb for each in variants)
    assert whole.hardware.cpu == all(each.hardware.cpu for each in variants)
    assert all(whole.capabilities.max_audio_s <= each.capabilities.max_audio_s for each in variants)
    for pool, fact in whole.performance.rtf.items():
        known = [each.performance.rtf[pool].value for each in variants if pool in each.performance.rtf]
        assert fact.value >= max(known, default=0.0) - 1e-6
    assert list(variant_faults(whole)) == []


@given(parts())
def test_the_order_of_parts_changes_nothing_but_the_name(variants: list[Variant]) -> None:
    names = {"id", "name"}
    forth, back = combined(variants), combined(variants[::-1])
    assert forth.model_dump(exclude=names) == back.model_dump(exclude=names)
    assert forth.stages[0] is Stage.TRANSCRIBE


@given(parts())
def test_a_worker_reads_what_the_catalogue_made(variants: list[Variant]) -> None:
    whole = combined(variants)
    spelled = {"FANSCRIBE_VARIANT_JSON": whole.model_dump_json(exclude_defaults=True)}
    assert read_variant(spelled, "combined") == whole


@given(
    st.lists(st.floats(0.001, 10), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1)), max_size=30),
)
def test_the_share_of_the_whole_rises_and_ends_at_one(
    weights: list[float], told: list[tuple[int, float]]
) -> None:
    shares: list[float] = []
    share = Share(lambda value: shares.append(value), weights)
    sides = [share.side(number) for number in range(len(weights))]
    for number, value in told:
        sides[number % len(sides)](value)
    for side in sides:
        side(1.0)
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(shares))
    assert abs(shares[-1] - 1.0) < 1e-9
    assert max(shares) <= 1.0, "more is refused on its way to the platform"
