"""The divisions of earlier runs: found again whatever was learned since, and enough of them after a death."""

from pathlib import Path

import pytest
from tests.scripted import deployed

from fanscribe.catalogue import Catalogue
from fanscribe.pipeline.cost import Capacity
from fanscribe.pipeline.cuts import Cut
from fanscribe.pipeline.divisions import Divisions
from fanscribe.pipeline.kept import Kept
from fanscribe.pipeline.plan import Plan, make_plan
from fanscribe.pipeline.request import make_request
from fanscribe.pipeline.situation import Situation
from fanscribe.results.folder import FolderResults

MANY = Capacity(rtf=0.5, overhead_s=0.2, workers_max=8, workers_warm=8)
ONE = Capacity(rtf=0.01, overhead_s=0.2, workers_max=1)


def plan(capacity: Capacity, **options: object) -> Plan:
    endpoint = deployed()
    catalogue = Catalogue({endpoint.variant.id: endpoint.variant}, (endpoint,))
    request = make_request(model=endpoint.variant.id, **options)  # type: ignore[arg-type]
    situation = Situation(channels=2, duration_s=3600.0, capacities={endpoint.name: capacity})
    return make_plan(request, catalogue, situation)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(FolderResults(tmp_path))


async def test_a_run_that_died_leaves_what_it_had_planned(kept: Kept) -> None:
    first = await Divisions(kept, "talk").applied(plan(MANY))
    assert len(first.stages[0].division.sizes_s) >= 8
    again = Divisions(kept, "talk")
    after = await again.applied(plan(ONE))
    assert after.stages[0].division.sizes_s == first.stages[0].division.sizes_s
    assert after.stages[0].division.width == 1
    assert after.makespan_s == pytest.approx(36.0 + len(first.stages[0].division.sizes_s) * 1.2, rel=0.2)
    assert again.cuts == {}
    other = await Divisions(kept, "another talk").applied(plan(ONE))
    assert len(other.stages[0].division.sizes_s) == 1


async def test_more_workers_are_used_for_the_same_chunks(kept: Kept) -> None:
    few = Capacity(rtf=0.5, overhead_s=0.2, workers_max=2, workers_warm=2)
    await Divisions(kept, "talk").applied(plan(few))
    wide = (await Divisions(kept, "talk").applied(plan(MANY))).stages[0].division
    assert wide.width == wide.in_flight == min(len(wide.sizes_s), 8)
    await Divisions(kept, "talk").applied(plan(MANY, optimize="cost"))


async def test_cuts_and_language_are_kept_beside_each_other(kept: Kept) -> None:
    divisions = Divisions(kept, "talk")
    (stage,) = (await divisions.applied(plan(MANY))).stages
    await divisions.keep_language(stage, "de")
    cuts = [Cut(100.0), Cut(200.0, 1.5)]
    await divisions.keep_cuts(stage, cuts)
    named = Divisions(kept, "talk")
    asked = await named.applied(plan(ONE, language="fr"))
    assert named.votes(asked)[None].decided == "fr"
    await named.keep_cuts(asked.stages[0], cuts)
    later = Divisions(kept, "talk")
    unasked = await later.applied(plan(ONE))
    assert later.votes(unasked)[None].decided == "de"
    assert later.cuts == {"transcribe": cuts}


async def test_each_channel_has_its_own(kept: Kept) -> None:
    divisions = Divisions(kept, "talk")
    left, _right = (await divisions.applied(plan(MANY, per_channel=True))).stages
    await divisions.keep_language(left, "de")
    again = Divisions(kept, "talk")
    votes = again.votes(await again.applied(plan(MANY, per_channel=True)))
    assert (votes[0].decided, votes[1].decided) == ("de", None)


async def test_with_nothing_kept_the_plan_stays_as_it_is() -> None:
    divisions = Divisions(Kept(None), "")
    before = plan(MANY)
    after = await divisions.applied(before)
    assert after == before
    await divisions.keep_language(after.stages[0], "de")
    assert divisions.cuts == {}
