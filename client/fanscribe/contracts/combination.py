"""Several variants in one worker: from the ids of its parts to a variant with facts of its own. Pure.

What a combination can do and what it needs follows from its parts, so its file says no more than which they are. They
share the worker: memory adds up, and so does the work that falls to one device.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fanscribe.contracts.task import Stage
from fanscribe.contracts.variant import Capabilities, Fact, Hardware, Model, Performance, Variant

FAMILY = "combined"
"""The family of every combination."""

PARTS_STAGES = (Stage.TRANSCRIBE, Stage.ALIGN, Stage.DIARIZE)
"""What parts may do, in the order in which a combination lists its stages."""

_CPU = "cpu_"


class Combination(BaseModel):
    """The file of a combination: which variants one worker holds together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    family: Literal["combined"]
    name: str
    aliases: list[str] = Field(default_factory=list)
    parts: list[str] = Field(min_length=2, max_length=len(PARTS_STAGES))


def combination_of(ids: Sequence[str]) -> Combination:
    """The combination of these variants that no file describes; its id is made of theirs."""
    return Combination(
        schema_version=1, id="-with-".join(ids), family=FAMILY, name=" with ".join(ids), parts=list(ids)
    )


def combine(combination: Combination, known: Mapping[str, Variant]) -> Variant:
    """The variant that its parts make, out of the variants known by id; its facts are derived from theirs.

    It does what the recogniser does, in the recogniser's languages, with the diarizer's speakers; audio may be as
    long as all of them take. Raises ValueError that names the part which cannot be one, and what to do.
    """
    parts = sorted(
        (_known(name, known) for name in combination.parts),
        key=lambda part: PARTS_STAGES.index(part.stages[0]),
    )
    stages = [part.stages[0] for part in parts]
    for part in parts:
        if stages.count(part.stages[0]) > 1:
            raise ValueError(
                f"parts: two of them {part.stages[0]}, {part.id} is one: keep one for each stage"
            )
    if stages[0] is not Stage.TRANSCRIBE:
        raise ValueError("parts: none of them transcribes: add a recogniser")
    recogniser, others = parts[0], parts[1:]
    can = recogniser.capabilities
    return Variant(
        schema_version=1,
        id=combination.id,
        family=FAMILY,
        stages=stages,
        name=combination.name,
        aliases=combination.aliases,
        model=Model(
            source="parts",
            licence="; ".join(dict.fromkeys(model.licence for p in parts for model in p.models)),
        ),
        capabilities=Capabilities(
            languages=can.languages,
            word_timestamps=can.word_timestamps or Stage.ALIGN in stages,
            translate=can.translate,
            max_audio_s=min(part.capabilities.max_audio_s for part in parts),
            max_speakers=next(
                (p.capabilities.max_speakers for p in others if p.stages[0] is Stage.DIARIZE), None
            ),
        ),
        hardware=Hardware(
            min_vram_gb=round(sum(part.hardware.min_vram_gb for part in parts), 3),
            min_ram_gb=round(sum(part.hardware.min_ram_gb for part in parts), 3),
            cpu=all(part.hardware.cpu for part in parts),
        ),
        performance=_performance(parts),
        options={"simulated": True} if any(part.options.get("simulated") for part in parts) else {},
        parts=parts,
    )


def _known(name: str, known: Mapping[str, Variant]) -> Variant:
    part = known.get(name)
    if part is None:
        names = ", ".join(sorted(each.id for each in known.values() if _single(each)))
        raise ValueError(f"parts: {name!r} is unknown; known are {names}")
    if not _single(part):
        raise ValueError(
            f"parts: {name} is several stages in one already: name variants that transcribe, align or diarize only"
        )
    return part


def _single(variant: Variant) -> bool:
    return len(variant.stages) == 1 and variant.stages[0] in PARTS_STAGES


def _performance(parts: Sequence[Variant]) -> Performance:
    """Loads add up, since they read from one disk; so does the work on one device, side by side or not."""
    pools = dict.fromkeys(pool for part in parts for pool in part.performance.rtf)
    if not all(part.hardware.cpu for part in parts):
        # A part that needs a GPU has no figure for machines without; those of the others stand for their CPU work.
        pools = {pool: None for pool in pools if not pool.startswith(_CPU)} or pools
    return Performance(
        load_s=_derived("sum", sum(part.performance.load_s.value for part in parts), parts),
        rtf={pool: _rtf(pool, parts) for pool in pools},
        overhead_s=_derived("most", max(part.performance.overhead_s.value for part in parts), parts),
    )


def _rtf(pool: str, parts: Sequence[Variant]) -> Fact:
    """Seconds of work for a second of audio. Parts without VRAM keep to the CPU, beside those on the GPU."""
    on_gpu = [part for part in parts if part.hardware.min_vram_gb > 0 and not pool.startswith(_CPU)]
    on_cpu = [part for part in parts if part not in on_gpu]
    sums = [sum(_figure(part, pool) for part in side) for side in (on_gpu, on_cpu)]
    return _derived("sum on each device, the most of both", max(sums), parts)


def _figure(part: Variant, pool: str) -> float:
    """A part's figure for the pool; where it has none, its slowest stands in, as in the cost model."""
    known = part.performance.rtf
    return known[pool].value if pool in known else max((fact.value for fact in known.values()), default=1.0)


def _derived(how: str, value: float, parts: Sequence[Variant]) -> Fact:
    return Fact(value=round(value, 6), source=f"derived, {how}: {', '.join(part.id for part in parts)}")
