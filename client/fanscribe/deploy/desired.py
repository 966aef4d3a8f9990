"""endpoints.toml and a profile -> what the account should be. Pure, but for reading the files."""

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from fanscribe.catalogue import load_catalogue, own_variants
from fanscribe.contracts.errors import CatalogueError, UsageError
from fanscribe.contracts.variant import Variant
from fanscribe.deploy.state import (
    CACHED_MODEL_ENTRY,
    CPU,
    DEPLOYMENT_ENTRY,
    ENDPOINT_ENTRY,
    GPU,
    PREFETCH_ENTRY,
    PROJECT_ENTRY,
    TIMEOUT_ENTRY,
    VARIANT_ENTRY,
    VARIANT_JSON_ENTRY,
    Desired,
    DesiredEndpoint,
    DesiredVolume,
    EndpointState,
)
from fanscribe.endpoints_file import read_endpoints_file
from fanscribe.endpoints_schema import EndpointsFile, Images, OrchestratorConfig, Profile, cpu_flavour
from fanscribe.settings import Effective, Hardware, effective, hardware_of

ORCHESTRATOR_IMAGE = "orchestrator"

_TOKEN_ENTRIES = ("HF_TOKEN", "HUGGINGFACE_ACCESS_TOKEN")
_FLASHBOOT = {"off": "OFF", "on": "FLASHBOOT", "priority": "PRIORITY_FLASHBOOT"}


def read_desired(file: Path, profile: str | None = None, *, every: bool = False) -> Desired:
    """What the file and one of its profiles want; with `every`, all of its endpoints whatever their profile.

    Raises CatalogueError with every fault of every file, UsageError for a profile that the file does not have.
    """
    faults: list[str] = []
    catalogue = load_catalogue(file)
    config = read_endpoints_file(file, faults)
    if config is None:
        raise CatalogueError(faults)
    if every:
        config = config.model_copy(update={"project": config.project.model_copy(update={"profile": None})})
    own = frozenset(variant.id for _, variant in own_variants(file))
    return desired(config, catalogue.variants, profile, str(file), own=own)


def without_ids(wanted: Desired) -> Desired:
    """The same for a platform that the file's ids do not belong to."""
    return replace(
        wanted,
        endpoints=tuple(replace(each, id=None) for each in wanted.endpoints),
        volumes=tuple(replace(each, id=None) for each in wanted.volumes),
    )


def desired(
    config: EndpointsFile,
    variants: Mapping[str, Variant],
    profile: str | None,
    label: str = "endpoints.toml",
    own: frozenset[str] = frozenset(),
) -> Desired:
    """What a profile of the file wants. `own`: variants that worker images do not know, so that they travel along.

    Raises UsageError for an unknown profile, CatalogueError for hardware and licences that cannot work.
    """
    chosen = profile_of(config, profile, label)
    names = list(config.endpoints) if chosen is None else chosen.endpoints
    wider = [config.defaults] if chosen is None else [chosen.defaults, config.defaults]
    faults: list[str] = []
    endpoints: list[DesiredEndpoint] = []
    volumes: set[str] = set()
    for name in names:
        each = config.endpoints[name]
        variant = variants[each.variant]
        hardware, wrong = hardware_of(each, variant)
        settings = effective(each, *wider)
        faults += [f"{label}: endpoints.{name}.{fault}" for fault in wrong]
        gated = any(model.gated for model in variant.models)
        if gated and not any(entry in settings.secrets for entry in _TOKEN_ENTRIES):
            faults.append(_needs_token(label, name, variant))
        env = _worker_env(settings, variant, own=variant.id in own)
        state = _state(config, name, settings, hardware, image_of(config.images, variant.family), env)
        if hardware.gpus and model_references(variant):
            state = _with_model(state, variant)
        endpoints.append(DesiredEndpoint(name, state, each.id, variant.id))
        volumes |= set(settings.volumes)
    if config.orchestrator is not None and (chosen is None or chosen.orchestrator):
        settings = effective(config.orchestrator, *wider)
        endpoints.append(_orchestrator(config, config.orchestrator, settings))
        volumes |= set(settings.volumes)
    if faults:
        raise CatalogueError(faults)
    return Desired(
        project=config.project.name,
        endpoints=tuple(endpoints),
        volumes=tuple(_volume(config, key) for key in sorted(volumes)),
        credential=config.images.credential,
        profile=profile or config.project.profile,
        worker_limit=config.project.worker_limit,
    )


def platform_name(project: str, endpoint: str) -> str:
    """What an endpoint is called on the platform."""
    return f"{project}-{endpoint}"


def model_references(variant: Variant) -> tuple[str, ...]:
    """The variant's weights as the platform's cached model names them: its repository, then further ones.

    Empty where they come from elsewhere than the hub.
    """
    return tuple(
        f"https://huggingface.co/{each.repo}:{each.revision}"
        for each in variant.models
        if each.source == "huggingface"
    )


def volume_placeholder(key: str) -> str:
    """Stands for the id of a volume of the file until it is known."""
    return f"[volumes.{key}]"


def profile_of(config: EndpointsFile, name: str | None, label: str) -> Profile | None:
    """The profile of that name, else the project's; None, which stands for every endpoint, where it has none.

    Raises UsageError for an unknown name.
    """
    name = name or config.project.profile
    if name is None:
        return None
    if name not in config.profiles:
        known = ", ".join(config.profiles) or "none: the file has no [profiles]"
        raise UsageError(f"--profile {name}: {label} has no such profile; it has {known}")
    return config.profiles[name]


def image_of(images: Images, family: str) -> str:
    """The whole name of a family's image, as `fanscribe images` builds it."""
    name = f"{images.registry}/fanscribe-{family.replace('_', '-')}"
    if family in images.digests:
        return f"{name}@{images.digests[family]}"
    # A tag takes no plus sign, which a local version has.
    return f"{name}:{images.tag or metadata.version('fanscribe').replace('+', '-')}"


def _worker_env(settings: Effective, variant: Variant, *, own: bool) -> dict[str, str]:
    env = {VARIANT_ENTRY: variant.id}
    if own:
        env[VARIANT_JSON_ENTRY] = json.dumps(variant.model_dump(mode="json", exclude_defaults=True))
    if settings.prefetch:
        env[PREFETCH_ENTRY] = "1"
    return env


def _state(
    config: EndpointsFile,
    name: str,
    settings: Effective,
    hardware: Hardware,
    image: str,
    env: Mapping[str, str],
) -> EndpointState:
    project = config.project.name
    delay, jobs = settings.scaling.queue_delay_s, settings.scaling.jobs_per_worker
    return EndpointState(
        name=platform_name(project, name),
        kind=GPU if hardware.gpus else CPU,
        image=image,
        env={
            **settings.env,
            **{entry: f"{{{{ RUNPOD_SECRET_{secret} }}}}" for entry, secret in settings.secrets.items()},
            **env,
            PROJECT_ENTRY: project,
            ENDPOINT_ENTRY: name,
        },
        workers_min=settings.workers.min,
        workers_max=settings.workers.max,
        idle_timeout_s=settings.idle_timeout_s if jobs is None else None,
        execution_timeout_s=float(settings.execution_timeout_s),
        scaling=f"queue_delay_s={delay:g}" if delay is not None else f"jobs_per_worker={jobs}",
        flashboot=_FLASHBOOT[settings.flashboot],
        disk_gb=settings.disk_gb,
        gpus=hardware.gpus,
        excluded_gpus=tuple(sorted(hardware.excluded_gpus)),
        gpu_count=hardware.gpu_count,
        min_cuda=settings.min_cuda if hardware.gpus else None,
        cpu=tuple(f"{flavour}-{vcpus}" for flavour, vcpus in hardware.cpu),
        data_centres=tuple(sorted(settings.data_centres)),
        volumes=tuple(sorted(volume_placeholder(key) for key in settings.volumes)),
        credential=config.images.credential,
    )


def _with_model(state: EndpointState, variant: Variant) -> EndpointState:
    references = model_references(variant)
    env = {**state.env, CACHED_MODEL_ENTRY: " ".join(references)}
    return replace(state, cached_model=references, env=env)


def _orchestrator(config: EndpointsFile, each: OrchestratorConfig, settings: Effective) -> DesiredEndpoint:
    hardware = Hardware(cpu=tuple(cpu_flavour(text) for text in each.cpu))
    image = image_of(config.images, ORCHESTRATOR_IMAGE)
    env = {DEPLOYMENT_ENTRY: "", TIMEOUT_ENTRY: str(settings.execution_timeout_s)}
    state = _state(config, each.name, settings, hardware, image, env)
    return DesiredEndpoint(each.name, state, each.id)


def _volume(config: EndpointsFile, key: str) -> DesiredVolume:
    each = config.volumes[key]
    name = platform_name(config.project.name, key)
    return DesiredVolume(key, name, each.data_centre, each.size_gb, each.tier.upper(), each.id)


def _needs_token(label: str, name: str, variant: Variant) -> str:
    gated = [model for model in variant.models if model.gated]
    pages = " and ".join(part.licence_url or f"https://huggingface.co/{part.repo}" for part in gated)
    return (
        f"{label}: endpoints.{name}.secrets: {variant.id} is gated: accept its licence at {pages}, keep a Hugging Face "
        'token as a Runpod secret, and name it here: secrets = { HF_TOKEN = "hf_token" }'
    )
