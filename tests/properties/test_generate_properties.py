"""Generated files, whatever endpoints.toml holds: nothing left out, nothing changed, readable by all parsers."""

import io
import json
import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from fanscribe.catalogue import load_catalogue
from fanscribe.contracts.errors import UsageError
from fanscribe.deploy.desired import desired
from fanscribe.endpoints_schema import EndpointsFile
from fanscribe.generate.compose import URL, compose
from fanscribe.generate.ecs import ecs
from fanscribe.generate.workers import Deployment, deployment

VARIANTS = load_catalogue().variants
OPEN = sorted(
    each.id
    for each in VARIANTS.values()
    if not any(part.gated for part in (each.model, *each.model.also)) and "simulated" not in each.options
)

names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True).filter(
    lambda name: name not in ("platform", "templates", "pods", "account", "clusters", "billing", "catalog")
)
values = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn", "Zl", "Zp")), max_size=20
) | st.sampled_from(
    [
        "1e3",
        "0o17",
        "yes",
        "off",
        "null",
        "~",
        "2026-01-01",
        "1:30",
        "${X}",
        "$$",
        "a: b",
        "- x",
        "#",
        "'",
        '"',
        "\\",
    ]
)
env = st.dictionaries(st.from_regex(r"[A-Z]{1,6}_X", fullmatch=True), values, max_size=3)
endpoint = st.fixed_dictionaries(
    {"variant": st.sampled_from(OPEN)},
    optional={
        "group": st.sampled_from(["box.a", "box.b"]),
        "workers": st.integers(1, 9).flatmap(
            lambda most: st.fixed_dictionaries({"min": st.integers(0, most), "max": st.just(most)})
        ),
        "env": env,
        "secrets": st.dictionaries(st.just("TOKEN_OF"), st.sampled_from(["hub", "other"]), max_size=1),
        "scaling": st.sampled_from([{"queue_delay_s": 4.0}, {"jobs_per_worker": 3}]),
        "prefetch": st.booleans(),
    },
)
files = st.dictionaries(names, endpoint, min_size=1, max_size=6)


def read(endpoints: dict[str, Any]) -> Deployment:
    config = EndpointsFile.model_validate({"project": {"name": "p"}, "endpoints": endpoints})
    return deployment(config, desired(config, VARIANTS, None), VARIANTS, URL)


def as_compose_reads(text: str) -> str:
    """Text once compose has replaced what stands for a dollar."""
    assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", text), "compose would replace something"
    return text.replace("$$", "$")


@settings(max_examples=40, deadline=None)
@given(files)
def test_each_endpoint_is_there_as_the_file_says(endpoints: dict[str, Any]) -> None:
    wanted = read(endpoints)
    text = compose(wanted)
    assert text == compose(read(endpoints))
    document = YAML(typ="safe", pure=True).load(io.StringIO(text))
    assert document == yaml.safe_load(text)
    services = document["services"]
    assert set(services) == {"platform", *endpoints}
    content = as_compose_reads(document["configs"]["endpoints"]["content"])
    assert [each["name"] for each in json.loads(content)] == list(endpoints)
    for name, given_ in endpoints.items():
        environment = services[name]["environment"]
        for entry, value in given_.get("env", {}).items():
            assert as_compose_reads(environment[entry]) == value
        for entry, secret in given_.get("secrets", {}).items():
            assert environment[entry].startswith(f"${{RUNPOD_SECRET_{secret}:?")
        assert services[name]["deploy"]["replicas"] == given_.get("workers", {"max": 1})["max"]


@settings(max_examples=40, deadline=None)
@given(files)
def test_each_endpoint_is_one_container_of_a_template_without_loose_ends(endpoints: dict[str, Any]) -> None:
    wanted, said = read(endpoints), ""
    try:
        text = ecs(wanted)
    except UsageError as error:
        text, said = "", str(error)
    if not text:
        assert re.search("are one name on ECS|no instance type|more than a Fargate task", said)
        return
    template = yaml.safe_load(text)
    assert template == YAML(typ="safe", pure=True).load(io.StringIO(text))
    resources = template["Resources"]
    held = [
        container
        for each in resources.values()
        if each["Type"] == "AWS::ECS::TaskDefinition"
        for container in each["Properties"]["ContainerDefinitions"]
    ]
    assert sorted(each["Name"] for each in held) == sorted(["platform", *endpoints])
    for each in held:
        told = {entry["Name"]: entry["Value"] for entry in each["Environment"]}
        assert told.items() >= endpoints.get(each["Name"], {}).get("env", {}).items()
    known = {*resources, *template["Parameters"], "AWS::Region"}
    assert set(re.findall(r"Ref: \"?([A-Za-z0-9:]+)", text)) <= known
    assert set(re.findall(r"Fn::GetAtt\"?:\n\s+- \"?([A-Za-z0-9]+)", text)) <= known
    for name in resources:
        assert re.fullmatch(r"[A-Za-z0-9]{1,255}", name)
