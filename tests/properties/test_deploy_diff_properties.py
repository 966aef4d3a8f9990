"""Any single field that is changed, in the file or live, shows as exactly that; and a patch brings it back."""

import copy
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from fanscribe.catalogue import load_catalogue
from fanscribe.deploy.desired import desired
from fanscribe.deploy.diff import Action, make_plan
from fanscribe.deploy.state import Account, Desired, EndpointState, LiveEndpoint
from fanscribe.deploy.wire import create_body, live_endpoint, patch_body
from fanscribe.endpoints_schema import EndpointsFile
from fanscribe.gpu_pools import POOLS

VARIANTS = load_catalogue().variants

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "workers": st.integers(0, 3).flatmap(
        lambda low: st.integers(max(1, low), 9).map(lambda high: {"min": low, "max": high})
    ),
    "idle_timeout_s": st.integers(1, 3600),
    "execution_timeout_s": st.integers(5, 604_800),
    "scaling": st.integers(1, 60).map(lambda delay: {"queue_delay_s": delay}),
    "flashboot": st.sampled_from(["off", "on", "priority"]),
    "prefetch": st.booleans(),
    "disk_gb": st.integers(1, 500),
    "data_centres": st.lists(st.sampled_from(["EU-RO-1", "US-TX-3", "CA-MTL-1"]), unique=True),
    "secrets": st.dictionaries(st.sampled_from(["HF_TOKEN", "WEBHOOK_KEY"]), NAMES),
    "env": st.dictionaries(st.sampled_from(["REGION", "LOG_LEVEL"]), st.text("abc {}\"'é", max_size=6)),
}
GPU_SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "gpus": st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=3, unique=True),
    "gpu_count": st.integers(1, 4),
    "min_cuda": st.sampled_from(["12.1", "12.4"]),
}
# Which fields of the plan a key of the file stands for.
SHOWN = {
    "workers": ("workers.min", "workers.max"),
    "data_centres": ("data_centres",),
    "prefetch": ("env.FANSCRIBE_PREFETCH",),
    "secrets": ("env.HF_TOKEN", "env.WEBHOOK_KEY"),
    "env": ("env.REGION", "env.LOG_LEVEL"),
}

FILES = st.fixed_dictionaries(
    {
        "gpu": st.fixed_dictionaries(
            {"variant": st.just("whisper-large-v3-turbo")}, optional={**SETTINGS, **GPU_SETTINGS}
        ),
        "cpu": st.fixed_dictionaries({"variant": st.just("diarize-onnx")}, optional=SETTINGS),
    }
)


def _desired(endpoints: dict[str, Any]) -> Desired:
    config = {"project": {"name": "p"}, "images": {"tag": "1"}, "endpoints": endpoints}
    return desired(EndpointsFile.model_validate(config), VARIANTS, None)


def _served(state: EndpointState, identity: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The endpoint as the platform would show it after POST, and after a PATCH of it."""
    shown: dict[str, Any] = copy.deepcopy(create_body(state)) | {"id": identity, "createdAt": "2026-01-01"}
    shown = {"args": "", "ports": [], "registry": None} | shown
    for name, value in (body or {}).items():
        if name == "gpu":
            shown["gpu"] = {**shown["gpu"], **value}
        else:
            shown[name] = value
    return shown


def _models(wanted: Desired) -> dict[str, tuple[str, ...]]:
    return {
        each.endpoint: each.state.cached_model
        for each in wanted.endpoints
        if isinstance(each.state.cached_model, tuple)
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES)
def test_what_was_created_is_read_back_as_wanted(endpoints: dict[str, Any]) -> None:
    wanted = _desired(endpoints)
    models = _models(wanted)
    live = [live_endpoint(_served(each.state, each.endpoint), models) for each in wanted.endpoints]
    assert not make_plan(wanted, Account(tuple(live))).changes


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES, st.sampled_from(["gpu", "cpu"]), st.data())
def test_one_key_changed_in_the_file_shows_as_that(
    endpoints: dict[str, Any], endpoint: str, data: st.DataObject
) -> None:
    before = _desired(endpoints)
    keys = {**SETTINGS, **GPU_SETTINGS} if endpoint == "gpu" else SETTINGS
    key = data.draw(st.sampled_from(sorted(keys)))
    changed = copy.deepcopy(endpoints)
    changed[endpoint][key] = data.draw(keys[key])
    after = _desired(changed)
    live = [live_endpoint(_served(each.state, each.endpoint), _models(before)) for each in before.endpoints]
    steps = {each.endpoint: each for each in make_plan(after, Account(tuple(live))).steps}
    other = steps["cpu" if endpoint == "gpu" else "gpu"]
    assert other.action is Action.UNCHANGED
    named = {change.field for change in steps[endpoint].changes}
    assert named <= set(SHOWN.get(key, (key,)))
    old = {each.endpoint: each.state.fields() for each in before.endpoints}[endpoint]
    new = {each.endpoint: each.state.fields() for each in after.endpoints}[endpoint]
    assert named == {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _other(value: Any) -> Any:
    """Something else of the same kind."""
    match value:
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case ("cpu3c-2",):
            return ("cpu3g-2",)
        case tuple():
            return (*value, "ZZ-9")
        case None:
            return "12.9"
    raise AssertionError(value)


FIELDS = (
    "name",
    "image",
    "args",
    "ports",
    "disk_gb",
    "credential",
    "workers_min",
    "workers_max",
    "idle_timeout_s",
    "execution_timeout_s",
    "flashboot",
    "data_centres",
    "volumes",
    "gpus",
    "excluded_gpus",
    "gpu_count",
    "min_cuda",
    "cuda_versions",
    "cached_model",
    "cpu",
    "scaling",
)
SPELT = {"workers_min": "workers.min", "workers_max": "workers.max"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES, st.sampled_from(["gpu", "cpu"]), st.data())
def test_one_field_changed_live_shows_as_that_and_a_patch_mends_it(
    endpoints: dict[str, Any], endpoint: str, data: st.DataObject
) -> None:
    wanted = _desired(endpoints)
    states = {each.endpoint: each.state for each in wanted.endpoints}
    state = states[endpoint]
    gpu_only = {"gpus", "excluded_gpus", "gpu_count", "min_cuda", "cuda_versions", "cached_model"}
    fields = [each for each in FIELDS if (each in gpu_only) <= (endpoint == "gpu")]
    fields = [each for each in fields if each != "cpu" or endpoint == "cpu"]
    field = data.draw(st.sampled_from([*fields, *(f"env.{name}" for name in state.env), "env.ADDED"]))
    if field.startswith("env."):
        name = field.removeprefix("env.")
        env = {**state.env, name: _other(state.env.get(name, ""))}
        if name == "FANSCRIBE_PROJECT":
            return  # an endpoint without our mark is not ours: see the unit tests
        drifted = replace(state, env=env)
    elif field == "scaling":
        drifted = replace(state, scaling="queue_delay_s=77")
    else:
        drifted = replace(state, **{field: _other(getattr(state, field))})
    live = [LiveEndpoint(name, drifted if name == endpoint else each) for name, each in states.items()]
    steps = {each.endpoint: each for each in make_plan(wanted, Account(tuple(live))).steps}
    assert {change.field for change in steps[endpoint].changes} == {SPELT.get(field, field)}
    assert all(step.action is Action.UNCHANGED for name, step in steps.items() if name != endpoint)
    if field != "cached_model":
        shown = _served(drifted, endpoint) | {
            "args": drifted.args,
            "ports": list(drifted.ports),
            "registry": drifted.credential,
        }
        body = patch_body(state, [SPELT.get(field, field)])
        if "gpu" in body:
            body["gpu"] = {**shown["gpu"], **body["gpu"]}
        mended = live_endpoint(shown | body, _models(wanted))
        assert mended.state == state
