"""Which worker fits the machine: RAM and VRAM reserved by spec, idle workers evicted first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fanscribe.local.spec import MIB, EndpointSpec
from fanscribe.local.worker import Worker


class NeverFitsError(ValueError):
    """A spec asks for more memory than this machine will ever have for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What workers may take together, in bytes.

    At most `orchestrator_share` of the RAM is kept for workers whose jobs wait for other endpoints' jobs, and they
    get no more than that: so parents can never take the memory that their children wait for. It is kept
    only while there is such an endpoint, and no more than all of their workers together may take.
    """

    ram_bytes: int
    vram_bytes: int = 0
    orchestrator_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Budget:
    """The part of the limits that one endpoint's workers draw on, in bytes."""

    ram_bytes: int
    vram_bytes: int

    def beside(self, held_bytes: int, limits: Limits) -> "Budget":
        """What is left of it beside workers that draw on the other budget, and may hold more than that by now."""
        return Budget(min(self.ram_bytes, limits.ram_bytes - held_bytes), self.vram_bytes)


@dataclass(frozen=True, slots=True)
class Placement:
    """Whether a worker may start now, and if not, which idle workers to end so that it soon can."""

    fits: bool
    evict: tuple[Worker, ...] = ()


def budget(limits: Limits, spec: EndpointSpec, specs: Iterable[EndpointSpec]) -> Budget:
    """The budget of `spec` among all `specs`."""
    wanted = {each.name: each.ram_bytes * each.max_workers for each in (*specs, spec) if each.orchestrator}
    reserved = min(sum(wanted.values()), int(limits.ram_bytes * limits.orchestrator_share))
    if spec.orchestrator:
        return Budget(reserved, 0)
    return Budget(limits.ram_bytes - reserved, limits.vram_bytes)


def check_fits(limits: Limits, specs: Sequence[EndpointSpec]) -> None:
    """Raise NeverFitsError, naming every spec of which not even one worker fits the machine.

    Workers that others keep as their minimum never make room, so one worker must fit beside those.
    """
    faults = []
    for spec in specs:
        room = budget(limits, spec, specs)
        if spec.ram_bytes > room.ram_bytes:
            faults.append(
                f"{spec.name}: a worker needs {spec.ram_bytes // MIB} MiB of RAM and workers of its kind may"
                f" take {room.ram_bytes // MIB} MiB on this machine; raise --ram-limit or choose a smaller model"
            )
        if spec.vram_bytes > room.vram_bytes:
            faults.append(
                f"{spec.name}: a worker needs {spec.vram_bytes // MIB} MiB of GPU memory and there are"
                f" {room.vram_bytes // MIB} MiB for it; set vram_bytes to 0 to run on the CPU"
            )
        kept = [each for each in specs if each.orchestrator == spec.orchestrator and each is not spec]
        kept = [each for each in kept if each.command and each.min_workers]
        ram = spec.ram_bytes + sum(each.ram_bytes * each.min_workers for each in kept)
        vram = spec.vram_bytes + sum(each.vram_bytes * each.min_workers for each in kept)
        fits_alone = spec.ram_bytes <= room.ram_bytes and spec.vram_bytes <= room.vram_bytes
        if spec.command and fits_alone and (ram > room.ram_bytes or vram > room.vram_bytes):
            kind, needed, given = ("RAM", ram, room.ram_bytes)
            if ram <= room.ram_bytes:
                kind, needed, given = ("GPU memory", vram, room.vram_bytes)
            faults.append(
                f"{spec.name}: a worker beside the minimum of {', '.join(each.name for each in kept)} needs"
                f" {needed // MIB} MiB of {kind} and there are {given // MIB} MiB; lower their min_workers"
            )
    if faults:
        raise NeverFitsError("; ".join(faults))


def overrun(said_bytes: int, taken_bytes: int) -> bool:
    """Whether a worker takes far more than its spec says: half as much again, and 256 MiB at least."""
    return taken_bytes > max(said_bytes * 1.5, said_bytes + 256 * MIB)


def place(
    spec: EndpointSpec, room: Budget, workers: Iterable[Worker], evictable: Sequence[Worker]
) -> Placement:
    """Decide on one more worker of `spec`.

    `workers` are all that draw on the same budget, the ending ones included (their memory is free only when
    their process is gone); `evictable` are the idle ones of other endpoints, the first to go first.
    """
    held = list(workers)
    ram = room.ram_bytes - sum(worker.ram_bytes for worker in held) - spec.ram_bytes
    vram = room.vram_bytes - sum(worker.vram_bytes for worker in held) - spec.vram_bytes
    if ram >= 0 and vram >= 0:
        return Placement(fits=True)
    ram += sum(worker.ram_bytes for worker in held if not worker.serving)
    vram += sum(worker.vram_bytes for worker in held if not worker.serving)
    chosen = []
    for worker in evictable:
        if ram >= 0 and vram >= 0:
            break
        if (ram < 0 and worker.ram_bytes) or (vram < 0 and worker.vram_bytes):
            chosen.append(worker)
            ram, vram = ram + worker.ram_bytes, vram + worker.vram_bytes
    # Ending workers without making enough room would only cost their next job a cold start.
    return Placement(fits=False, evict=tuple(chosen) if ram >= 0 and vram >= 0 else ())
