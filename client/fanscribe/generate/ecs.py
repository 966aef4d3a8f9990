"""Amazon ECS: one CloudFormation template for the platform and, box by box, the workers of each endpoint. Pure."""

from collections.abc import Iterator

from fanscribe.contracts.errors import UsageError
from fanscribe.generate import ecs_base, ecs_boxes, ecs_capacity
from fanscribe.generate.ecs_boxes import Box
from fanscribe.generate.ecs_names import Value, duplicates
from fanscribe.generate.ecs_scaling import MOST_ENDPOINTS, scaling
from fanscribe.generate.workers import Deployment
from fanscribe.generate.yaml_text import yaml_text


def ecs(deployment: Deployment) -> str:
    """The template's text. Raises UsageError that names what ECS cannot run."""
    boxes, faults = _boxes(deployment)
    faults += _name_faults(deployment)
    if faults:
        raise UsageError("\n".join(faults))
    on_machines = any(box.types for box in boxes)
    resources: dict[str, Value] = ecs_base.resources(deployment) | ecs_capacity.resources(boxes)
    for box in boxes:
        resources |= ecs_boxes.resources(deployment.project, box)
        resources |= scaling(deployment.project, box.name, box.workers, box.cooldown_s)
    document = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"fanscribe: {deployment.project}",
        "Parameters": ecs_base.parameters(deployment) | (ecs_capacity.parameters() if on_machines else {}),
        "Resources": resources,
        "Outputs": ecs_base.outputs(deployment),
    }
    return yaml_text(document, _comment(deployment, boxes))


def _boxes(deployment: Deployment) -> tuple[list[Box], list[str]]:
    boxes, faults = [], []
    for name, workers in deployment.boxes().items():
        try:
            boxes.append(ecs_boxes.box_of(name, workers))
        except UsageError as error:
            faults.append(str(error))
        if len(workers) > MOST_ENDPOINTS:
            faults.append(f"{name}: a group has at most {MOST_ENDPOINTS} endpoints on ECS: split it")
    return boxes, faults


def _name_faults(deployment: Deployment) -> Iterator[str]:
    endpoints = [each.endpoint for each in deployment.workers]
    for what, names in (
        ("names", [*deployment.boxes(), *(each for each in endpoints if each not in deployment.boxes())]),
        ("secrets", list(deployment.secrets())),
    ):
        for first, second in duplicates(names):
            yield f"{what} {first} and {second}: are one name on ECS, which takes letters and digits: rename one"


def _comment(deployment: Deployment, boxes: list[Box]) -> str:
    profile = f", profile {deployment.profile}" if deployment.profile else ""
    lines = [
        f"Project {deployment.project}{profile}: made by `fanscribe generate ecs` from endpoints.toml; change that,",
        "and make it again. It needs CAPABILITY_IAM, since it makes the roles of its tasks and machines.",
        "",
    ]
    for box in boxes:
        names = ", ".join(each.endpoint for each in box.workers)
        if box.fargate is not None:
            place = f"Fargate spot, {box.fargate.cpu / 1024:g} vCPU, {box.fargate.memory / 1024:g} GiB"
        else:
            place = f"{' or '.join(box.types)}{', one for all' if box.shared else ''}"
        lines.append(f"{box.name}: {names}: {place}")
    return "\n".join(lines)
