"""The kinds of hardware that can be asked for: pools of graphics cards, and processors by flavor."""

from collections.abc import Mapping

from fanscribe.local.management.records import Cpu, Gpu

POOLS: Mapping[str, tuple[str, ...]] = {
    "AMPERE_16": (
        "NVIDIA RTX A4000",
        "NVIDIA RTX A4500",
        "NVIDIA RTX 4000 Ada Generation",
        "NVIDIA RTX 2000 Ada Generation",
    ),
    "AMPERE_24": ("NVIDIA RTX A5000", "NVIDIA L4", "NVIDIA GeForce RTX 3090"),
    "ADA_24": ("NVIDIA GeForce RTX 4090",),
    "ADA_32_PRO": ("NVIDIA GeForce RTX 5090",),
    "AMPERE_48": ("NVIDIA A40", "NVIDIA RTX A6000"),
    "ADA_48_PRO": ("NVIDIA L40", "NVIDIA L40S", "NVIDIA RTX 6000 Ada Generation"),
    "AMPERE_80": ("NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"),
    "ADA_80_PRO": ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA H100 NVL"),
    "BLACKWELL_96": (
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
    ),
    "HOPPER_141": ("NVIDIA H200",),
    "BLACKWELL_180": ("NVIDIA B200",),
}
"""Each pool's types of cards, by the platform's ids (its documentation, August 2026)."""

FLAVORS: Mapping[str, int] = {"cpu3c": 2, "cpu3g": 4, "cpu5c": 2, "cpu5g": 4}
"""GB of memory per virtual processor."""


def memory_gb(cpu: Cpu) -> int:
    """The memory that comes with a processor."""
    return cpu.vcpus * FLAVORS[cpu.flavor]


def gpu_faults(gpu: Gpu) -> list[str]:
    """What is wrong with a choice of cards."""
    unknown = [pool for pool in gpu.pools if pool not in POOLS]
    if unknown:
        return [f"gpu.pools: {', '.join(unknown)} is no GPU pool; there are {', '.join(POOLS)}"]
    types = {each for pool in gpu.pools for each in POOLS[pool]}
    foreign = [each for each in gpu.excluded_types if each not in types]
    faults = [f"gpu.excludedTypes: {', '.join(foreign)} is in none of the chosen pools"] if foreign else []
    if types <= set(gpu.excluded_types):
        faults.append("gpu.excludedTypes: leaves no card")
    if gpu.allowed_cuda and gpu.min_cuda:
        faults.append("gpu: takes allowedCudaVersions or minCudaVersion, not both")
    return faults


def cpu_faults(choices: tuple[Cpu, ...]) -> list[str]:
    """What is wrong with a choice of processors."""
    faults = []
    for each in choices:
        if each.flavor not in FLAVORS:
            faults.append(f"cpu.id: {each.flavor} is no CPU flavor; there are {', '.join(FLAVORS)}")
        if each.vcpus < 2 or each.vcpus & (each.vcpus - 1):
            faults.append(f"cpu.vcpuCount: {each.vcpus} is not a power of two of at least 2")
    return faults


def gpu_ids(gpu: Gpu | None) -> str:
    """A choice of cards as the older API writes it: `AMPERE_24,-NVIDIA L4`."""
    return "" if gpu is None else ",".join([*gpu.pools, *(f"-{each}" for each in gpu.excluded_types)])


def instance_id(cpu: Cpu) -> str:
    """A processor as the older API writes it: flavor, processors, GB of memory."""
    return f"{cpu.flavor}-{cpu.vcpus}-{memory_gb(cpu)}"
