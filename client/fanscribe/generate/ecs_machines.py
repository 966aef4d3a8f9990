"""What Amazon has to run a box on: EC2 instance types with NVIDIA cards, and sizes of Fargate tasks. Pure."""

from dataclasses import dataclass

from fanscribe.contracts.errors import UsageError

AS_OF = "2026-11"
"""When the figures were taken from Amazon's tables of instance types and of Fargate task sizes."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance type: `card_gb` is the memory of each of its `gpus` cards, `ram_gib` its own."""

    name: str
    gpus: int
    card_gb: int
    vcpus: int
    ram_gib: int


INSTANCES: tuple[Instance, ...] = (
    Instance("g4dn.xlarge", 1, 16, 4, 16),
    Instance("g4dn.2xlarge", 1, 16, 8, 32),
    Instance("g6.xlarge", 1, 24, 4, 16),
    Instance("g5.xlarge", 1, 24, 4, 16),
    Instance("g6.2xlarge", 1, 24, 8, 32),
    Instance("g5.2xlarge", 1, 24, 8, 32),
    Instance("g5.4xlarge", 1, 24, 16, 64),
    Instance("g6e.xlarge", 1, 48, 4, 32),
    Instance("g6e.2xlarge", 1, 48, 8, 64),
    Instance("g6e.4xlarge", 1, 48, 16, 128),
    Instance("p5.4xlarge", 1, 80, 16, 256),
    Instance("g4dn.12xlarge", 4, 16, 48, 192),
    Instance("g6.12xlarge", 4, 24, 48, 192),
    Instance("g5.12xlarge", 4, 24, 48, 192),
    Instance("g6e.12xlarge", 4, 48, 48, 384),
    Instance("g6e.48xlarge", 8, 48, 192, 1536),
    Instance("p5.48xlarge", 8, 80, 192, 2048),
)
"""Instance types with NVIDIA cards, the cheapest first among those with as many cards."""

_MOST_TYPES = 4
_SYSTEM_GB = 1.0
_GIB_PER_GB = 1e9 / 2**30

FARGATE_GIB: dict[float, tuple[int, int, int]] = {
    0.5: (1, 4, 1),
    1: (2, 8, 1),
    2: (4, 16, 1),
    4: (8, 30, 1),
    8: (16, 60, 4),
    16: (32, 120, 8),
}
"""Memory that a Fargate task of so many vCPUs may have: from, to and step, in GiB."""


@dataclass(frozen=True, slots=True)
class FargateSize:
    """A task's size in the units of a task definition: 1024 for a vCPU, and MiB."""

    cpu: int
    memory: int


def instances(box: str, gpus: int, card_gb: float, ram_gb: float) -> tuple[str, ...]:
    """Up to four types that hold a box, the cheapest first: more types are more chances of a spot machine.

    Raises UsageError where there is none.
    """
    needed_gib = (ram_gb + _SYSTEM_GB) * _GIB_PER_GB
    fitting = [
        each
        for each in INSTANCES
        if each.gpus >= gpus and each.card_gb >= card_gb and each.ram_gib >= needed_gib
    ]
    if not fitting:
        raise UsageError(
            f"{box}: no instance type has {gpus} x {card_gb:g} GB of GPU memory and {ram_gb:g} GB of RAM: split the "
            "group, or choose a smaller variant"
        )
    as_few = [each.name for each in fitting if each.gpus == fitting[0].gpus]
    return tuple(as_few[:_MOST_TYPES])


def fargate_size(box: str, vcpus: float, ram_gb: float) -> FargateSize:
    """The smallest task with so much. Raises UsageError where there is none."""
    needed_gib = ram_gb * _GIB_PER_GB
    for cpu, (least, most, step) in FARGATE_GIB.items():
        if cpu < vcpus or most < needed_gib:
            continue
        gib = least
        while gib < needed_gib:
            gib += step
        return FargateSize(int(cpu * 1024), gib * 1024)
    raise UsageError(
        f"{box}: {vcpus:g} vCPUs and {ram_gb:g} GB are more than a Fargate task may have (16 and 120 GiB): split the "
        "group, or name fewer virtual cores"
    )
