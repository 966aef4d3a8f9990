"""A box of an ECS template: a task that holds a worker of each of its endpoints, and a service of such tasks. Pure."""

from dataclasses import dataclass

from fanscribe.generate.ecs_base import (
    CAPACITY,
    CLUSTER,
    EXECUTION_ROLE,
    KEY_PARAMETER,
    TASK_ROLE,
    WORKER_GROUP,
    awsvpc,
    log_configuration,
    named,
    platform_url,
    secret_parameter,
)
from fanscribe.generate.ecs_machines import FargateSize, fargate_size, instances
from fanscribe.generate.ecs_names import Value, attribute, logical_id, ref, resource
from fanscribe.generate.ecs_scaling import bounds
from fanscribe.generate.workers import WorkerSpec

STOP_TIMEOUT_S = 120
"""How long a worker may go on with its job once it is told to end: the notice of a spot machine, and ECS's most."""

CACHE_UID = 10001
"""The user of the worker images, who must be able to write the cache of models on a machine."""
CACHE = "/var/cache/fanscribe"

_HOME = "/home/worker"
_RESTART_AFTER_S = 60
_LEAST_EPHEMERAL_GIB = 21
_MOST_EPHEMERAL_GIB = 200
_FARGATE_COOLDOWN_S = 120
_EC2_COOLDOWN_S = 420


@dataclass(frozen=True, slots=True)
class Box:
    """What a box runs on. `types` are its instance types, empty on Fargate; `shared`: its workers share one card."""

    name: str
    workers: tuple[WorkerSpec, ...]
    types: tuple[str, ...] = ()
    shared: bool = False
    fargate: FargateSize | None = None

    @property
    def capacity(self) -> str:
        """The logical id of its capacity provider, which boxes of the same types have in common."""
        return f"{logical_id(self.types[0])}{'Shared' if self.shared else ''}Capacity"

    @property
    def cooldown_s(self) -> int:
        """Seconds before more workers are added to those that are on their way: a machine must start first."""
        return _EC2_COOLDOWN_S if self.types else _FARGATE_COOLDOWN_S


def box_of(name: str, workers: tuple[WorkerSpec, ...]) -> Box:
    """What a box needs. Raises UsageError where Amazon has nothing that large."""
    on_gpu = [each for each in workers if each.gpu_count]
    if not on_gpu:
        size = fargate_size(name, sum(each.vcpus for each in workers), sum(each.ram_gb for each in workers))
        return Box(name, workers, fargate=size)
    shared = len(on_gpu) > 1
    ram_gb = sum(each.ram_gb for each in workers)
    if shared:
        cards = max(each.gpu_count for each in on_gpu)
        card_gb = max(
            sum(each.vram_gb / each.gpu_count for each in on_gpu), *(each.card_gb for each in on_gpu)
        )
    else:
        cards, card_gb = on_gpu[0].gpu_count, on_gpu[0].card_gb
    return Box(name, workers, instances(name, cards, card_gb, ram_gb), shared)


def resources(project: str, box: Box) -> dict[str, Value]:
    """Its task definition and its service."""
    name = logical_id(box.name)
    return {
        f"{name}Task": resource("AWS::ECS::TaskDefinition", _task(project, box)),
        f"{name}Service": resource("AWS::ECS::Service", _service(box), depends_on=CAPACITY),
    }


def _task(project: str, box: Box) -> dict[str, Value]:
    task: dict[str, Value] = {
        "Family": f"{project}-{box.name}".replace(".", "-"),
        "ExecutionRoleArn": attribute(EXECUTION_ROLE, "Arn"),
        "TaskRoleArn": attribute(TASK_ROLE, "Arn"),
        "ContainerDefinitions": [_container(project, box, each) for each in box.workers],
    }
    if box.fargate is not None:
        disk = max(_LEAST_EPHEMERAL_GIB, min(_MOST_EPHEMERAL_GIB, sum(each.disk_gb for each in box.workers)))
        return task | {
            "RequiresCompatibilities": ["FARGATE"],
            "NetworkMode": "awsvpc",
            "Cpu": str(box.fargate.cpu),
            "Memory": str(box.fargate.memory),
            "EphemeralStorage": {"SizeInGiB": disk},
        }
    # By the machine's own network: a task's own would have no public address, in any subnet.
    cache = {"Name": "cache", "Host": {"SourcePath": CACHE}}
    return task | {"RequiresCompatibilities": ["EC2"], "NetworkMode": "bridge", "Volumes": [cache]}


def _container(project: str, box: Box, each: WorkerSpec) -> dict[str, Value]:
    url = platform_url(project)
    external = ["python", "-m", "fanscribe.local.external", "--url", url, "--endpoint", each.endpoint]
    env = {**each.env, "XDG_CACHE_HOME": f"{_HOME}/.cache"}
    secrets = {entry: ref(secret_parameter(name)) for entry, name in each.secrets.items()}
    container: dict[str, Value] = {
        "Name": each.endpoint.replace(".", "-"),
        "Image": each.image,
        "Command": [*external, *each.command],
        "Essential": True,
        "Secrets": named({**secrets, "FANSCRIBE_LOCAL_KEY": ref(KEY_PARAMETER)}, "ValueFrom"),
        # A worker that ends itself, as after a job that could not be stopped, comes back without a new task.
        "RestartPolicy": {"Enabled": True, "RestartAttemptPeriod": _RESTART_AFTER_S},
        "StopTimeout": STOP_TIMEOUT_S,
        "LinuxParameters": {"InitProcessEnabled": True},
        "LogConfiguration": log_configuration(box.name),
    }
    if box.types:
        container["MemoryReservation"] = round(each.ram_gb * 1e9 / 2**20)
        container["MountPoints"] = [{"SourceVolume": "cache", "ContainerPath": f"{_HOME}/.cache"}]
        if box.shared and each.gpu_count:
            env["NVIDIA_VISIBLE_DEVICES"] = "all"
        elif each.gpu_count:
            container["ResourceRequirements"] = [{"Type": "GPU", "Value": str(each.gpu_count)}]
        elif box.shared:
            env["NVIDIA_VISIBLE_DEVICES"] = "void"
    return container | {"Environment": named(env)}


def _service(box: Box) -> dict[str, Value]:
    service: dict[str, Value] = {
        "Cluster": ref(CLUSTER),
        "TaskDefinition": ref(f"{logical_id(box.name)}Task"),
        "DesiredCount": bounds(box.workers)[0],
        # The old ones go first: twice the machines for a moment is more than an account may have.
        "DeploymentConfiguration": {"MinimumHealthyPercent": 0, "MaximumPercent": 100},
    }
    if box.fargate is not None:
        return service | {
            "CapacityProviderStrategy": [{"CapacityProvider": "FARGATE_SPOT", "Weight": 1}],
            "NetworkConfiguration": awsvpc(WORKER_GROUP),
        }
    service["CapacityProviderStrategy"] = [{"CapacityProvider": ref(box.capacity), "Weight": 1}]
    if box.shared:
        # ECS does not count cards that no container reserves.
        service["PlacementConstraints"] = [{"Type": "distinctInstance"}]
    return service
