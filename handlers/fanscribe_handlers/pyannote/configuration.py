"""What a pipeline's config.yaml asks for, with every model that it names found in the model's folder. No torch.

pyannote looks for the models that a configuration names on the hub. A worker must not: its models were found
before (`fanscribe_handlers.models`), and the hub may be out of reach. So each name becomes a path:

- `$model/segmentation` is a sub-folder of the model's own repository (community-1);
- `pyannote/segmentation-3.0` is another repository, which lies in a sub-folder by its name (3.1);
- a PLDA that is not named is left out where the clustering has no use for it (3.1), though pyannote 4 would fetch one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = "config.yaml"
PIPELINE = "SpeakerDiarization"

_MODELS = ("segmentation", "embedding", "plda")
_OURS = ("legacy", "segmentation_batch_size", "embedding_batch_size", "token", "use_auth_token", "cache_dir")
"""Parameters that the engine sets itself, or that only the hub needs."""


class WrongConfiguration(ValueError):
    """The configuration cannot be used; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`parameters` are the arguments of pyannote's SpeakerDiarization, `tuned` its hyper-parameters."""

    parameters: dict[str, Any]
    tuned: dict[str, Any]

    @property
    def needs_plda(self) -> bool:
        """Whether the clustering works in the space of a PLDA."""
        return bool(self.parameters.get("clustering", "VBxClustering") == "VBxClustering")


def read(folder: Path) -> Configuration:
    """The configuration in `folder`. Raises WrongConfiguration."""
    path = folder / FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise WrongConfiguration(f"{path} cannot be read as YAML ({error})") from error
    pipeline = content.get("pipeline") if isinstance(content, Mapping) else None
    if not isinstance(pipeline, Mapping) or not isinstance(pipeline.get("params"), Mapping):
        raise WrongConfiguration(f"{path} has no pipeline.params: it is no pyannote pipeline")
    name = str(pipeline.get("name", ""))
    if name.rsplit(".", 1)[-1] != PIPELINE:
        raise WrongConfiguration(f"{path}: pipeline.name is {name!r}, but only {PIPELINE} can be served")
    parameters = {key: value for key, value in pipeline["params"].items() if key not in _OURS}
    for key in _MODELS:
        if key in parameters:
            parameters[key] = _local(folder, path, key, parameters[key])
    configuration = Configuration(parameters, dict(content.get("params") or {}))
    absent = [key for key in _MODELS if key not in parameters and (key != "plda" or configuration.needs_plda)]
    if absent:
        raise WrongConfiguration(f"{path}: pipeline.params lacks {', '.join(absent)}")
    return configuration


def _local(folder: Path, path: Path, key: str, named: object) -> str | dict[str, str]:
    """A model of the configuration as pyannote loads it from the disk: a path to a file of ONNX, else a checkpoint."""
    if isinstance(named, Mapping):
        named = "/".join(str(named[part]) for part in ("checkpoint", "subfolder") if named.get(part))
    if not isinstance(named, str) or not named:
        raise WrongConfiguration(f"{path}: pipeline.params.{key} names no model")
    name = named.partition("@")[0].removeprefix("$model/")  # which revision, the variant file says
    found = (folder / name).resolve()
    if not found.exists():
        raise WrongConfiguration(f"{path}: pipeline.params.{key} is {named}, but {folder} has no {name}")
    if key == "embedding" and found.suffix == ".onnx":
        return str(found)
    return {"checkpoint": str(found)}
