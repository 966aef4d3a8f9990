"""The endpoints of the local platform: which handlers it starts, and what each may take."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fanscribe.catalogue import Catalogue, DeployedEndpoint, Workers, load_catalogue
from fanscribe.contracts.errors import CatalogueError
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.desired import profile_of
from fanscribe.deploy.installed import family_installed
from fanscribe.deploy.local_orchestrator import orchestrator_rule, orchestrator_spec
from fanscribe.deploy.management import Management
from fanscribe.deploy.state import VARIANT_ENTRY
from fanscribe.endpoints_file import read_endpoints_file
from fanscribe.endpoints_schema import EndpointsFile, OrchestratorConfig, Profile, Settings
from fanscribe.local.images import ImageRule
from fanscribe.local.spec import QUEUE_DELAY, REQUEST_COUNT, EndpointSpec
from fanscribe.settings import DEFAULT_QUEUE_DELAY_S, Effective, effective

IDLE_TIMEOUT_S = 60
"""How long an idle worker of the embedded deployment keeps its model in memory, in seconds."""

DEFAULT_EXECUTION_TIMEOUT_S = 600.0
"""When a job is ended that an endpoint says nothing about, in seconds: Runpod's own default."""

_EMBEDDED_ORCHESTRATOR = Settings(idle_timeout_s=IDLE_TIMEOUT_S, execution_timeout_s=3600)

_ORIGINS_ENTRY = "FANSCRIBE_ALLOWED_ORIGINS"

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


def local_catalogue(endpoints_file: Path | None = None, profile: str | None = None) -> Catalogue:
    """What the local platform serves: a profile of the file, else every variant that this machine can run.

    That is: whose libraries are installed, and which needs no GPU where there is none. Without `profile` it is the
    one that the file names as its project's, else all of its endpoints.

    Without a file the smallest variant comes first, so that it is the one that `auto` means; endpoints cost
    nothing until they are called, since workers start from zero. Combinations are left out: their parts are there.
    """
    catalogue = load_catalogue(endpoints_file)
    if endpoints_file is not None:
        settings = _settings(endpoints_file, profile)
        return catalogue.deployed(
            _served(each, settings[each.name]) for each in catalogue.endpoints if each.name in settings
        )
    runnable = [
        each
        for each in catalogue.variants.values()
        if obstacle(each) is None and each.options.get("simulated") is not True and not each.parts
    ]
    runnable.sort(key=lambda variant: (variant.hardware.min_ram_gb, variant.id))
    return catalogue.deployed(
        DeployedEndpoint(each.id, each.id, each, Workers(max=_most_workers()), IDLE_TIMEOUT_S)
        for each in runnable
    )


def local_specs(
    endpoints_file: Path | None = None, profile: str | None = None, *, orchestrator: bool = False
) -> list[EndpointSpec]:
    """The endpoints of `local_catalogue`, as the local platform takes them, with all that the file says of each.

    With `orchestrator` also the one that takes a whole request and fans it out to them: without a file one called
    orchestrator, with a file the file's own, where the profile has it. Raises CatalogueError, and UsageError for an
    unknown profile.
    """
    endpoints = local_catalogue(endpoints_file, profile).endpoints
    specs = [spec_of(endpoint) for endpoint in endpoints]
    named: tuple[OrchestratorConfig, Effective] | None = None
    if endpoints_file is not None:
        settings = _settings(endpoints_file, profile)
        specs = [_as_the_file_says(each, settings[each.name]) for each in specs]
        named = _orchestrator_settings(endpoints_file, profile)
    elif orchestrator:
        named = OrchestratorConfig(), effective(_EMBEDDED_ORCHESTRATOR)
    if orchestrator and named is not None:
        config, chosen = named
        specs.append(_as_the_file_says(orchestrator_spec(config.name, chosen, endpoints), chosen))
    return specs


def spec_of(endpoint: DeployedEndpoint) -> EndpointSpec:
    """How the local platform starts the workers of an endpoint."""
    variant = endpoint.variant
    environment = _environment(max(1, _cores() // endpoint.workers.max))
    environment["FANSCRIBE_VARIANT_JSON"] = json.dumps(variant.model_dump(mode="json", exclude_defaults=True))
    if endpoint.prefetch:
        environment["FANSCRIBE_PREFETCH"] = "1"
    return EndpointSpec(
        name=endpoint.name,
        command=_command(f"fanscribe_handlers.{variant.family}"),
        env=environment,
        ram_bytes=int(variant.hardware.min_ram_gb * 1e9),
        vram_bytes=_vram_bytes(variant),
        min_workers=endpoint.workers.min,
        max_workers=endpoint.workers.max,
        idle_timeout_s=endpoint.idle_timeout_s,
        execution_timeout_s=endpoint.execution_timeout_s or DEFAULT_EXECUTION_TIMEOUT_S,
        labels=_labels(variant),
    )


def image_rules(endpoints_file: Path | None = None) -> list[ImageRule]:
    """What the local platform runs in place of our images: for each variant that this machine can run, its handler.

    Endpoints that `fanscribe deploy --platform local` makes name these images and, in their environment, the variant.
    Raises CatalogueError.
    """
    threads = max(1, _cores() // _most_workers())
    rules = [
        ImageRule(
            image=f"*fanscribe-{variant.family.replace('_', '-')}[:@]*",
            command=_command(f"fanscribe_handlers.{variant.family}"),
            when={VARIANT_ENTRY: variant.id},
            env=_environment(threads),
            ram_bytes=int(variant.hardware.min_ram_gb * 1e9),
            vram_bytes=_vram_bytes(variant),
            labels=_labels(variant),
        )
        for variant in load_catalogue(endpoints_file).variants.values()
        if obstacle(variant) is None
    ]
    return [*rules, orchestrator_rule()]


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """What stands for Runpod's secrets on the local platform: RUNPOD_SECRET_<name> of an environment."""
    prefix = "RUNPOD_SECRET_"
    return {
        name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)
    }


def obstacle(variant: Variant) -> str | None:
    """Why this machine cannot run a variant, and what to do; None where it can."""
    if not (variant.hardware.cpu or variant.options.get("simulated") is True or _gpu_visible()):
        return "needs a GPU, and this machine has none: choose another profile or variant"
    if not all(family_installed(family) for family in variant.families):
        extras = ",".join(family.replace("_", "-") for family in variant.families)
        return f"needs its libraries: pip install 'fanscribe[{extras}]'"
    return None


async def local_faults(management: Management, names: Mapping[str, str]) -> dict[str, str]:
    """Why endpoints of the local platform cannot have workers, by name; `names` are theirs by id."""
    return {
        names[
            each["name"]
        ]: f"{each['fault']} (images run where the platform was started by `local up --managed`)"
        for each in await _up(management)
        if each["name"] in names and each.get("fault")
    }


async def started_orchestrator(management: Management) -> str | None:
    """The name, and so the id, of an orchestrator that a local platform was started with."""
    found = [each["name"] for each in await _up(management) if each.get("labels", {}).get("orchestrator")]
    return found[0] if found else None


async def _up(management: Management) -> list[dict[str, Any]]:
    """What the local platform says of its endpoints."""
    url = management.rest_url.removesuffix("/v2")
    response = await management.http.get(
        f"{url}/local/status", headers={"Authorization": f"Bearer {management.key}"}
    )
    response.raise_for_status()
    found: list[dict[str, Any]] = response.json()["endpoints"]
    return found


def _settings(file: Path, profile: str | None) -> dict[str, Effective]:
    """What the file says of each endpoint of a profile."""
    config, chosen, wider = _read(file, profile)
    names = config.endpoints if chosen is None else chosen.endpoints
    return {name: effective(config.endpoints[name], *wider) for name in names}


def _orchestrator_settings(file: Path, profile: str | None) -> tuple[OrchestratorConfig, Effective] | None:
    """What the file says of its orchestrator, where a profile has it."""
    config, chosen, wider = _read(file, profile)
    if config.orchestrator is None or not (chosen is None or chosen.orchestrator):
        return None
    return config.orchestrator, effective(config.orchestrator, *wider)


def _read(file: Path, profile: str | None) -> tuple[EndpointsFile, Profile | None, list[Settings]]:
    """The file, the profile, and what stands above an endpoint's own settings."""
    faults: list[str] = []
    config = read_endpoints_file(file, faults)
    if config is None:
        raise CatalogueError(faults)
    chosen = profile_of(config, profile, str(file))
    return config, chosen, [config.defaults] if chosen is None else [chosen.defaults, config.defaults]


def _served(endpoint: DeployedEndpoint, settings: Effective) -> DeployedEndpoint:
    # On the local platform an endpoint's id is its name; the file's ids are Runpod's.
    return replace(
        endpoint,
        id=endpoint.name,
        gpus=(),
        workers=settings.workers,
        idle_timeout_s=settings.idle_timeout_s,
        prefetch=settings.prefetch,
        execution_timeout_s=float(settings.execution_timeout_s),
    )


def _as_the_file_says(spec: EndpointSpec, settings: Effective) -> EndpointSpec:
    """Its environment and scaling too; secrets are this process's variables RUNPOD_SECRET_<name>, where it has them."""
    known = secrets_of(os.environ)
    secrets = {
        entry: known[name]
        for entry, name in settings.secrets.items()
        # The key that stands there is of an account on Runpod; here it is the platform's.
        if name in known and entry != "RUNPOD_API_KEY"
    }
    given = dict(settings.env)
    if _ORIGINS_ENTRY in given and _ORIGINS_ENTRY in spec.env:  # the platform's own stays one of them
        given[_ORIGINS_ENTRY] = f"{spec.env[_ORIGINS_ENTRY]},{given[_ORIGINS_ENTRY]}"
    delay_s, jobs = settings.scaling.queue_delay_s, settings.scaling.jobs_per_worker
    return replace(
        spec,
        env={**spec.env, **given, **secrets},
        scaler=QUEUE_DELAY if jobs is None else REQUEST_COUNT,
        scaler_value=float(delay_s or DEFAULT_QUEUE_DELAY_S) if jobs is None else float(jobs),
    )


def _environment(threads: int) -> dict[str, str]:
    """What every worker is started with. Workers get a home of their own; what they download or unpack belongs into
    the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.setdefault("HF_HOME", str(Path(cache) / "huggingface"))
    environment.setdefault("FANSCRIBE_THREADS", str(threads))
    return environment | {"XDG_CACHE_HOME": cache, _ORIGINS_ENTRY: "{url}"}


def _command(module: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", module)


def _vram_bytes(variant: Variant) -> int:
    return int(variant.hardware.min_vram_gb * 1e9) if _gpu_visible() else 0


def _labels(variant: Variant) -> dict[str, str]:
    return {"variant": variant.id, "stages": ",".join(variant.stages)}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu_visible() -> bool:
    return shutil.which("nvidia-smi") is not None


def _most_workers() -> int:
    """Four cores a worker: recognisers gain little from more, and two engines run side by side."""
    return max(1, _cores() // 4)
