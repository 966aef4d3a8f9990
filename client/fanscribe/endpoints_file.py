"""endpoints.toml, read: every fault at once, and its JSON schema for editors."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fanscribe.endpoints_schema import EndpointsFile, Settings


def read_endpoints_file(file: Path, faults: list[str]) -> EndpointsFile | None:
    """The file, or None with what is wrong added to `faults`, each with file and key."""
    try:
        config = EndpointsFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        faults.append(f"{file}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(f"{file}: is not valid TOML: {error}")
    except ValidationError as error:
        faults += faults_of(str(file), error)
    else:
        faults += [f"{file}: {fault}" for fault in _dangling(config)]
        return config
    return None


def faults_of(label: str, error: ValidationError) -> Sequence[str]:
    """One line a fault: the file, the key as a dotted path, and what is wrong with it; never the value."""
    return [
        f"{label}: {'.'.join(str(part) for part in each['loc']) or 'file'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False)
    ]


def json_schema() -> dict[str, Any]:
    """The JSON schema of endpoints.toml, for editors."""
    schema = EndpointsFile.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "endpoints.toml of fanscribe"}
    return {**schema, **head}


def _dangling(config: EndpointsFile) -> list[str]:
    """Names that stand for nothing in this file."""
    found: list[str] = []
    places: list[tuple[str, Settings]] = [("defaults", config.defaults)]
    places += [(f"endpoints.{name}", each) for name, each in config.endpoints.items()]
    places += [(f"profiles.{name}.defaults", each.defaults) for name, each in config.profiles.items()]
    if config.orchestrator is not None:
        places.append(("orchestrator", config.orchestrator))
        if config.orchestrator.name in config.endpoints:
            found.append(f"orchestrator.name: {config.orchestrator.name!r} is an endpoint's name already")
    for place, settings in places:
        for volume in settings.volumes or ():
            if volume not in config.volumes:
                found.append(f"{place}.volumes: there is no [volumes.{volume}]")
        for name in set(settings.env or ()) & set(settings.secrets or ()):
            found.append(f"{place}.env.{name}: stands under secrets too")
    for name, profile in config.profiles.items():
        for endpoint in profile.endpoints:
            if endpoint not in config.endpoints:
                found.append(f"profiles.{name}.endpoints: there is no [endpoints.{endpoint}]")
        if len(set(profile.endpoints)) < len(profile.endpoints):
            found.append(f"profiles.{name}.endpoints: an endpoint stands there twice")
        if profile.orchestrator and config.orchestrator is None:
            found.append(f"profiles.{name}.orchestrator: there is no [orchestrator]")
    chosen = config.project.profile
    if chosen is not None and chosen not in config.profiles:
        found.append(f"project.profile: there is no [profiles.{chosen}]")
    ids = [each.id for each in (*config.endpoints.values(), config.orchestrator) if each and each.id]
    found += [
        f"endpoints: the id {each!r} stands twice" for each in sorted({i for i in ids if ids.count(i) > 1})
    ]
    return found
