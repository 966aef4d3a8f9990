"""The endpoints of the local platform: which handlers it starts, and what each may take."""

import json
import os
import shutil
import sys
from pathlib import Path

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers, load_catalogue
from fanscribe.local.spec import EndpointSpec

IDLE_TIMEOUT_S = 60
"""How long an idle worker of the embedded deployment keeps its model in memory, in seconds."""

_PASSED_ON = (
    "FANSCRIBE_THREADS",
    "FANSCRIBE_MAX_AUDIO_S",
    "FANSCRIBE_MAX_BYTES",
    "FANSCRIBE_PREFETCH",
    "FANSCRIBE_MODEL_STORE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HUGGINGFACE_ACCESS_TOKEN",
    "CUDA_VISIBLE_DEVICES",
)


def local_catalogue(endpoints_file: Path | None = None) -> Catalogue:
    """What the local platform serves: the endpoints of the file, else every variant that this machine can run.

    Without a file the smallest variant comes first, so that it is the one that `auto` means; endpoints cost
    nothing until they are called, since workers start from zero.
    """
    catalogue = load_catalogue(endpoints_file)
    if endpoints_file is not None:
        # On the local platform an endpoint's id is its name; the file's ids are Runpod's.
        return catalogue.deployed(
            DeployedEndpoint(each.name, each.name, each.variant, each.workers, each.idle_timeout_s)
            for each in catalogue.endpoints
        )
    gpu = _gpu_visible()
    runnable = [
        each
        for each in catalogue.variants.values()
        if (each.hardware.cpu or gpu) and each.options.get("simulated") is not True
    ]
    runnable.sort(key=lambda variant: (variant.hardware.min_ram_gb, variant.id))
    return catalogue.deployed(
        DeployedEndpoint(each.id, each.id, each, Workers(max=_most_workers()), IDLE_TIMEOUT_S)
        for each in runnable
    )


def local_specs(endpoints_file: Path | None = None) -> list[EndpointSpec]:
    """The endpoints of `local_catalogue`, as the local platform takes them. Raises CatalogueError."""
    return [spec_of(endpoint) for endpoint in local_catalogue(endpoints_file).endpoints]


def spec_of(endpoint: DeployedEndpoint) -> EndpointSpec:
    """How the local platform starts the workers of an endpoint."""
    variant = endpoint.variant
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Workers get a home of their own; what they download or unpack belongs into the user's cache.
    environment.setdefault("HF_HOME", str(Path(cache) / "huggingface"))
    environment |= {
        "XDG_CACHE_HOME": cache,
        "FANSCRIBE_VARIANT_JSON": json.dumps(variant.model_dump(mode="json", exclude_defaults=True)),
        "FANSCRIBE_ALLOWED_ORIGINS": "{url}",
    }
    environment.setdefault("FANSCRIBE_THREADS", str(max(1, _cores() // endpoint.workers.max)))
    return EndpointSpec(
        name=endpoint.name,
        command=(sys.executable, "-P", "-m", f"fanscribe_handlers.{variant.family}"),
        env=environment,
        ram_bytes=int(variant.hardware.min_ram_gb * 1e9),
        vram_bytes=int(variant.hardware.min_vram_gb * 1e9) if _gpu_visible() else 0,
        min_workers=endpoint.workers.min,
        max_workers=endpoint.workers.max,
        idle_timeout_s=endpoint.idle_timeout_s,
        labels={"variant": variant.id, "stages": ",".join(variant.stages)},
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu_visible() -> bool:
    return shutil.which("nvidia-smi") is not None


def _most_workers() -> int:
    """Four cores a worker: recognisers gain little from more, and two engines run side by side."""
    return max(1, _cores() // 4)
