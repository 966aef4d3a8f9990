"""Endpoint specs: read, refused with every fault named, written back."""

import pytest

from fanscribe.local.spec import EndpointSpec, SpecError, check_names


def test_a_spec_survives_the_way_through_json() -> None:
    spec = EndpointSpec("echo", ("python", "h.py"), {"A": "{url}"}, max_workers=3, labels={"k": "v"})
    assert EndpointSpec.from_json(spec.to_json()) == spec


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        EndpointSpec("a b", ("x",), ram_bytes=-1, scaler="SOMETIMES", execution_timeout_s=0)
    for word in ("name", "ram_bytes", "scaler", "execution_timeout_s"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ([], "object"),
        ({"command": []}, "name"),
        ({"name": "a", "comand": []}, "comand"),
        ({"name": "a", "command": "python h.py"}, "list of strings"),
        ({"name": "a", "command": None}, "list of strings"),
        ({"name": "serverless"}, "management API"),
        ({"name": "a", "min_workers": 3, "max_workers": 2}, "min_workers 3"),
        ({"name": "a", "env": {"A": 1}}, "env"),
        ({"name": "a", "env": []}, "env"),
        ({"name": "a", "max_workers": True}, "max_workers"),
        ({"name": "a", "idle_timeout_s": float("nan")}, "idle_timeout_s"),
    ],
)
def test_a_bad_spec_is_refused_with_its_reason(value: object, word: str) -> None:
    with pytest.raises(SpecError, match=word):
        EndpointSpec.from_json(value)


def test_names_used_twice_are_refused() -> None:
    with pytest.raises(SpecError, match="used twice: a"):
        check_names([EndpointSpec("a"), EndpointSpec("b"), EndpointSpec("a")])
