"""Plans with engines that name speakers in the recogniser's own pass, beside others and alone."""

from dataclasses import replace
from typing import Any

import pytest

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers, load_catalogue
from fanscribe.contracts.errors import PlanError
from fanscribe.contracts.task import Stage
from fanscribe.pipeline.cost import Capacity
from fanscribe.pipeline.plan import DIARIZE_SHORTEST_S, Plan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation

KNOWN = load_catalogue()
CAPACITY = Capacity(rtf=0.1, workers_max=8, workers_warm=8)


def plan(*deployed: str, duration_s: float = 60.0, **options: Any) -> Plan:
    endpoints = [
        DeployedEndpoint(name, name, KNOWN.variants[name], Workers(max=8), 60, ()) for name in deployed
    ]
    catalogue: Catalogue = KNOWN.deployed(endpoints)
    situation = Situation(duration_s=duration_s, capacities=dict.fromkeys(deployed, CAPACITY))
    return make_plan(make_request(diarize=True, **options), catalogue, situation)


def stages(plan: Plan) -> list[tuple[Stage, list[str]]]:
    return [(each.stage, [endpoint.name for endpoint in each.endpoints]) for each in plan.stages]


def test_alone_it_does_both_in_one_task() -> None:
    (stage,) = plan("whisper-base-diarized").stages
    assert (stage.stage, stage.also_diarizes) == (Stage.TRANSCRIBE, True)


def test_the_cheaper_recogniser_gives_way_where_nobody_else_can_name_speakers() -> None:
    found = plan("whisper-base", "whisper-base-diarized")
    assert stages(found) == [(Stage.TRANSCRIBE, ["whisper-base-diarized"])]
    assert found.stages[0].also_diarizes


def test_beside_a_diarizer_it_stands_in_for_the_recogniser_only() -> None:
    assert stages(plan("whisper-base", "diarize-onnx", "whisper-base-diarized")) == [
        (Stage.DIARIZE, ["diarize-onnx"]),
        (Stage.TRANSCRIBE, ["whisper-base", "whisper-base-diarized"]),
    ]


def test_only_its_like_stands_in_for_it() -> None:
    deployed = (
        "whisper-base-diarized",
        "whisper-large-v3",
        "whisper-large-v3-turbo-diarized",
        "diarize-onnx",
    )
    assert stages(plan(*deployed)) == [
        (Stage.TRANSCRIBE, ["whisper-base-diarized", "whisper-large-v3-turbo-diarized"])
    ]


def test_a_recogniser_that_is_named_is_not_replaced() -> None:
    with pytest.raises(PlanError, match="no deployed endpoint can diarize"):
        plan("whisper-base", "whisper-base-diarized", model="whisper-base")


def test_without_speakers_it_is_a_recogniser_like_others() -> None:
    endpoints = [
        DeployedEndpoint("one", "one", KNOWN.variants["whisper-base-diarized"], Workers(max=1), 60, ())
    ]
    (stage,) = make_plan(
        make_request(), KNOWN.deployed(endpoints), Situation(duration_s=60, capacities={"one": CAPACITY})
    ).stages
    assert not stage.also_diarizes


def test_chunks_are_long_enough_to_know_voices_by() -> None:
    (both,) = plan("whisper-base-diarized", duration_s=3600.0).stages
    words = next(
        each
        for each in plan("whisper-base", "diarize-onnx", duration_s=3600.0, optimize="latency").stages
        if each.stage is Stage.TRANSCRIBE
    )
    assert len(both.division.sizes_s) > 1
    assert min(both.division.sizes_s) == pytest.approx(DIARIZE_SHORTEST_S)
    assert words.bounds.shortest_s < DIARIZE_SHORTEST_S


def test_where_it_tells_too_few_speakers_apart_it_is_not_asked() -> None:
    few = KNOWN.variants["whisper-base-diarized"]
    few = few.model_copy(update={"capabilities": few.capabilities.model_copy(update={"max_speakers": 4})})
    endpoints = [
        DeployedEndpoint(each.id, each.id, each, Workers(max=8))
        for each in (few, KNOWN.variants["whisper-large-v3"], KNOWN.variants["diarize-onnx"])
    ]
    catalogue = replace(KNOWN, variants=KNOWN.variants | {few.id: few}).deployed(endpoints)
    situation = Situation(duration_s=60.0)
    four = make_plan(make_request(diarize=True, num_speakers=4), catalogue, situation)
    assert [each.stage for each in four.stages] == [Stage.TRANSCRIBE]
    five = make_plan(make_request(diarize=True, num_speakers=5), catalogue, situation)
    assert stages(five) == [
        (Stage.DIARIZE, ["diarize-onnx"]),
        (Stage.TRANSCRIBE, ["whisper-large-v3"]),
    ]
    with pytest.raises(PlanError, match="whisper-base-diarized tells at most 4 speakers apart, 5 were asked"):
        make_plan(make_request(diarize=True, num_speakers=5, model=few.id), catalogue, situation)
