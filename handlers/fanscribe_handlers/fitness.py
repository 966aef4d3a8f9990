"""Whether this host can serve the variant: checks that the SDK runs once, before a worker takes its first job.

A check that fails ends the worker, and the platform starts another, perhaps elsewhere. So a check fails only for
what another host may have: a GPU that is not there, weights that this host should hold and does not. What no host
can cure, such as a licence that nobody accepted, is answered to the job instead (MODEL_MISSING), because a worker
that never becomes fit leaves its jobs waiting.
"""

import subprocess
from collections.abc import Callable, Mapping

from fanscribe.contracts.variant import Variant
from fanscribe_handlers.models import Places, broken_promise

_GPU_TIMEOUT_S = 10.0

Check = Callable[[], None]
"""Raises Unfit; its name is what the platform shows."""

ListGpus = Callable[[], str]
"""Gives one line a GPU."""


class Unfit(Exception):
    """This host cannot serve the variant; the message says what it lacks."""


def list_gpus() -> str:
    """What `nvidia-smi -L` prints: one line a GPU. Empty where there is no driver or it does not answer."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_GPU_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def checks(
    variant: Variant, places: Places, environ: Mapping[str, str], gpus: ListGpus = list_gpus
) -> list[Check]:
    """The checks of a variant's worker. RUNPOD_SKIP_GPU_CHECK=true, as for the SDK's own check, leaves out the GPU."""

    def gpu_visible() -> None:
        if not gpus().strip():
            raise Unfit(f"{variant.id} needs a GPU and none is visible: choose a GPU for the endpoint")

    def model_present() -> None:
        if (broken := broken_promise(variant, places)) is not None:
            raise Unfit(f"the model of {variant.id} should be on this host: {broken}")

    wanted: list[Check] = [model_present]
    skipped = environ.get("RUNPOD_SKIP_GPU_CHECK", "").lower() == "true"
    if variant.hardware.min_vram_gb > 0 and not variant.hardware.cpu and not skipped:
        wanted.insert(0, gpu_visible)
    return wanted
