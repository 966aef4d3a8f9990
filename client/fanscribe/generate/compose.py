"""A docker compose file: the local platform and, for each endpoint, its workers as containers of their own. Pure."""

import json
import re
from typing import Any

from fanscribe.contracts.errors import UsageError
from fanscribe.generate.workers import PLATFORM, PORT, Deployment, WorkerSpec
from fanscribe.generate.yaml_text import yaml_text

URL = f"http://{PLATFORM}:{PORT}"
"""Where workers find the platform, on the network that compose makes."""

KEY_VARIABLE = "FANSCRIBE_LOCAL_KEY"

_HOME = "/home/worker"
_CACHE = f"{_HOME}/.cache"
_SPECS = "/etc/fanscribe/endpoints.json"
_GB = 1000 * 1000 * 1000
_CARE_GB = 0.25
_HEALTH = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/ping', timeout=2)"
_STOP_GRACE_S = 120


def compose(deployment: Deployment) -> str:
    """The file's text. Raises UsageError where two secrets would be one variable."""
    variables = _secret_variables(deployment)
    services: dict[str, Any] = {PLATFORM: _platform(deployment)}
    for each in deployment.workers:
        services[each.endpoint] = _service(each, variables)
    document = {
        "name": deployment.project,
        "services": services,
        "configs": {"endpoints": {"content": _literal(json.dumps(specs(deployment), indent=1))}},
        "volumes": {"models": {}, "jobs": {}},
    }
    return yaml_text(document, _comment(deployment, variables))


def specs(deployment: Deployment) -> list[dict[str, Any]]:
    """The endpoints as the local platform takes them: without a command, since containers serve them.

    They take none of the memory that the platform hands out.
    """
    return [
        {
            "name": each.endpoint,
            "ram_bytes": 0,
            "max_workers": each.workers_max,
            "execution_timeout_s": each.execution_timeout_s,
            "labels": dict(each.labels),
        }
        for each in deployment.workers
    ]


def gpu_variable(box: str, number: int, count: int) -> str:
    """The variable that says which card a box has; with several cards for each worker, which is its `number`th."""
    name = f"FANSCRIBE_GPU_{re.sub('[^A-Z0-9]', '_', box.upper())}"
    return name if count == 1 else f"{name}_{number}"


def _platform(deployment: Deployment) -> dict[str, Any]:
    command = ["python", "-m", "fanscribe.local", "--host", "0.0.0.0", "--port", str(PORT), "--url", URL]  # noqa: S104
    return {
        "image": _literal(deployment.platform_image),
        "command": [*command, "--specs", _SPECS, "--data-dir", f"{_HOME}/jobs"],
        "environment": {KEY_VARIABLE: _key()},
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "configs": [{"source": "endpoints", "target": _SPECS}],
        "volumes": [f"jobs:{_HOME}"],
        "healthcheck": {
            "test": ["CMD", "python", "-c", _HEALTH],
            "interval": "10s",
            "timeout": "5s",
            "start_period": "30s",
            "start_interval": "1s",
        },
        "init": True,
        "restart": "unless-stopped",
    }


def _service(each: WorkerSpec, variables: dict[str, str]) -> dict[str, Any]:
    environment = {name: _literal(text) for name, text in each.env.items()}
    for entry, secret in each.secrets.items():
        told = f"set it in .env to the secret {secret}"
        environment[entry] = f"${{{variables[secret]}:?{told}}}"
    environment |= {"XDG_CACHE_HOME": _CACHE, KEY_VARIABLE: _key()}
    external = ["python", "-m", "fanscribe.local.external", "--url", URL, "--endpoint", each.endpoint]
    resources: dict[str, Any] = {
        # The local platform ends a worker of its own that takes half as much again as its variant says.
        "limits": {"memory": _bytes(max(each.ram_gb * 1.5, each.ram_gb + _CARE_GB))},
        "reservations": {"memory": _bytes(each.ram_gb)},
    }
    if each.vcpus:
        resources["limits"]["cpus"] = str(each.vcpus)
    if each.gpu_count:
        cards = [
            f"${{{gpu_variable(each.box, number, each.gpu_count)}:-{number}}}"
            for number in range(each.gpu_count)
        ]
        resources["reservations"]["devices"] = [
            {"driver": "nvidia", "device_ids": cards, "capabilities": ["gpu"]}
        ]
    return {
        "image": _literal(each.image),
        "command": [*external, *each.command],
        "environment": dict(sorted(environment.items())),
        "volumes": [f"models:{_HOME}"],
        "depends_on": {PLATFORM: {"condition": "service_healthy"}},
        "deploy": {"replicas": each.workers_max, "resources": resources},
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": f"{_STOP_GRACE_S}s",
    }


def _comment(deployment: Deployment, variables: dict[str, str]) -> str:
    lines = [
        f"Project {deployment.project}"
        + (f", profile {deployment.profile}" if deployment.profile else "")
        + ": made by `fanscribe generate compose` from endpoints.toml; change that, and make it again.",
        "",
        "Needs docker compose 2.23.1 or later. Variables, in .env beside this file or in the environment:",
        f"  {KEY_VARIABLE}: a key of your own choice, which clients send; nothing starts without it",
    ]
    for secret, endpoints in deployment.secrets().items():
        lines.append(f"  {variables[secret]}: the secret {secret}, for {', '.join(endpoints)}")
    for box, workers in deployment.boxes().items():
        on_gpu = [each for each in workers if each.gpu_count]
        for number in range(max((each.gpu_count for each in on_gpu), default=0)):
            count = max(each.gpu_count for each in on_gpu)
            lines.append(
                f"  {gpu_variable(box, number, count)}: index of the card of {box}; left out: {number}"
            )
    lines += ["", "GPU memory that the workers of a box take, all up at once:"]
    gpu_boxes = {
        box: [each for each in workers if each.gpu_count] for box, workers in deployment.boxes().items()
    }
    for box, on_gpu in gpu_boxes.items():
        if on_gpu:
            parts = [f"{each.endpoint} {each.workers_max} x {each.vram_gb:g} GB" for each in on_gpu]
            total = sum(each.workers_max * each.vram_gb for each in on_gpu)
            lines.append(f"  {box}: {', '.join(parts)}: {total:g} GB")
    if not any(gpu_boxes.values()):
        lines[-2:] = []
    return "\n".join(lines)


def _secret_variables(deployment: Deployment) -> dict[str, str]:
    """The variable that each secret is taken from: as on the local platform, RUNPOD_SECRET_<name>."""
    taken: dict[str, str] = {}
    for name in deployment.secrets():
        variable = f"RUNPOD_SECRET_{re.sub('[^A-Za-z0-9_]', '_', name)}"
        if variable in taken:
            raise UsageError(
                f"secrets {taken[variable]} and {name}: both would be the variable {variable}: rename one of them"
            )
        taken[variable] = name
    return {name: variable for variable, name in taken.items()}


def _key() -> str:
    return f"${{{KEY_VARIABLE}:?set it in .env to a key of your own choice}}"


def _literal(text: str) -> str:
    """Text in which compose replaces nothing."""
    return text.replace("$", "$$")


def _bytes(gb: float) -> str:
    return f"{round(gb * _GB)}b"
