"""Where the weights of a variant lie on this machine.

The places are asked in this order, and the first that has every file wins: the folder given by the operator,
the platform's Model Store, the Hugging Face cache, packaged weights, weights bundled with the engine family,
a download from the hub.
"""

import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from fanscribe.contracts.variant import Model, Variant
from fanscribe_handlers.packaged import NotPackaged, unpack

MODEL_STORE = Path("/runpod-volume/huggingface-cache/hub")
"""Where the platform's Model Store mounts cached models, in the layout of a Hugging Face cache."""

MODEL_STORE_VARIABLE = "FANSCRIBE_MODEL_STORE"
"""Environment variable that names another Model Store root, for hosts that mount it elsewhere."""

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGINGFACE_ACCESS_TOKEN")

_log = logging.getLogger(__name__)

Report = Callable[[float, str], None]
"""Takes the share of a download that is done (0 to 1) and a line about it."""


class ModelMissing(Exception):
    """No place has the weights. `steps` holds one line per place asked: where, and why not."""

    def __init__(self, variant: str, steps: list[str]) -> None:
        self.steps = tuple(steps)
        super().__init__(
            f"the model of {variant} was not found; tried "
            + "; ".join(f"({number}) {step}" for number, step in enumerate(steps, 1))
        )


class _NotHere(Exception):
    """One place does not have the model; the message says why."""


@dataclass(frozen=True, slots=True)
class Places:
    """The machine's places for models. `given` is the operator's own folder, None when none was named."""

    given: Path | None
    store: Path
    cache: Path
    token: str | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], given: Path | None = None) -> "Places":
        """Read FANSCRIBE_MODEL_STORE and the hub token; the cache is the user's cache folder."""
        token = next((environ[name] for name in TOKEN_VARIABLES if environ.get(name)), None)
        store = Path(environ.get(MODEL_STORE_VARIABLE) or MODEL_STORE)
        return cls(given, store, user_cache_path("fanscribe") / "models", token)


def locate(
    variant: Variant,
    places: Places,
    environ: MutableMapping[str, str],
    report: Report = lambda share, line: None,
) -> Path:
    """The folder that holds the weights of `variant`, fetched or unpacked first where needed.

    A hit in the Model Store sets HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE in `environ`, so that no library asks
    the hub again. Raises ModelMissing when no place has the model.
    """
    model = variant.model
    steps: list[str] = []
    looks: list[tuple[str, Callable[[], Path]]] = [
        ("given folder", lambda: _given(model, places)),
        ("Model Store", lambda: _model_store(model, places, environ)),
        ("Hugging Face cache", lambda: _hub_cache(model, places)),
        ("packaged weights", lambda: _packaged(model, places, report)),
        ("bundled weights", lambda: _bundled(variant)),
        ("hub download", lambda: _hub(model, places, report)),
    ]
    for name, look in looks:
        try:
            folder = look()
        except _NotHere as missing:
            steps.append(f"{name}: {missing}")
            continue
        _log.info("the model of %s lies in %s (%s)", variant.id, folder, name)
        return folder
    raise ModelMissing(variant.id, steps)


def _expected(model: Model) -> list[str]:
    if model.packaged is not None:
        return [model.packaged.target, *(name.rsplit("/", 1)[-1] for name in model.packaged.files)]
    return [name for name in model.files if not set(name) & set("*?[")]


def _whole(folder: Path, model: Model) -> Path:
    if not folder.is_dir():
        raise _NotHere(f"there is no folder {folder}")
    absent = [name for name in _expected(model) if not (folder / name).is_file()]
    if absent:
        raise _NotHere(f"{folder} lacks {', '.join(absent)}")
    if not any(folder.iterdir()):
        raise _NotHere(f"{folder} is empty")
    return folder


def _given(model: Model, places: Places) -> Path:
    if places.given is None:
        raise _NotHere("FANSCRIBE_MODEL_DIR is not set")
    return _whole(places.given, model)


def _repo(model: Model) -> str:
    if model.repo is None:
        raise _NotHere("the variant names no hub repository")
    return model.repo


def _model_store(model: Model, places: Places, environ: MutableMapping[str, str]) -> Path:
    wanted = "models--" + _repo(model).replace("/", "--")
    if not places.store.is_dir():
        raise _NotHere(f"there is no folder {places.store}")
    # Folder names keep the case of the repository id, but the platform may be given it in any case.
    found = [entry for entry in sorted(places.store.iterdir()) if entry.name.lower() == wanted.lower()]
    if not found:
        raise _NotHere(f"{places.store} has no {wanted}")
    folder = _whole(_snapshot(found[0], model.revision), model)
    environ["HF_HUB_OFFLINE"] = environ["TRANSFORMERS_OFFLINE"] = "1"
    return folder


def _snapshot(repository: Path, revision: str) -> Path:
    snapshots = repository / "snapshots"
    for name in (revision, "main"):
        reference = repository / "refs" / name
        if reference.is_file():
            return snapshots / reference.read_text(encoding="utf-8").strip()
        if (snapshots / name).is_dir():
            return snapshots / name
    available = sorted(entry for entry in snapshots.iterdir() if entry.is_dir()) if snapshots.is_dir() else []
    if not available:
        raise _NotHere(f"{repository} has no snapshot")
    return available[0]


def _hub_cache(model: Model, places: Places) -> Path:
    repo = _repo(model)
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = huggingface_hub.snapshot_download(
            repo, revision=model.revision, allow_patterns=model.files or None, local_files_only=True
        )
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise _NotHere(f"no copy of {repo} at revision {model.revision}") from error
    return _whole(Path(folder), model)


def _packaged(model: Model, places: Places, report: Report) -> Path:
    if model.packaged is None:
        raise _NotHere("the variant has none")
    try:
        return unpack(model.packaged, places.cache, lambda share: report(share, "unpacking the model"))
    except NotPackaged as error:
        raise _NotHere(str(error)) from error


def _bundled(variant: Variant) -> Path:
    if variant.model.source != "bundled":
        raise _NotHere("the variant has none")
    folder = resources.files(f"fanscribe_handlers.{variant.family}") / "weights"
    if not isinstance(folder, Path):
        raise _NotHere(f"{folder} is not a folder on disk: install fanscribe unpacked")
    return _whole(folder, variant.model)


def _hub(model: Model, places: Places, report: Report) -> Path:
    repo = _repo(model)
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{repo}"
    token_advice = "set " + " or ".join(TOKEN_VARIABLES)
    try:
        folder = huggingface_hub.snapshot_download(
            repo,
            revision=model.revision,
            allow_patterns=model.files or None,
            token=places.token if places.token else False,
            tqdm_class=_progress_bar(lambda share: report(share, f"downloading {repo}")),
        )
    except GatedRepoError as error:
        raise _NotHere(f"{repo} is gated: accept its licence at {page} and {token_advice}") from error
    except RepositoryNotFoundError as error:
        advice = f"; accept its licence at {page} and {token_advice}" if model.gated else ""
        raise _NotHere(f"the hub has no {repo}, or this token may not read it{advice}") from error
    except RevisionNotFoundError as error:
        raise _NotHere(f"{repo} has no revision {model.revision}") from error
    except Exception as error:  # the hub client lets its HTTP library's own errors through
        raise _NotHere(f"{page} could not be fetched ({type(error).__name__}): check the network") from error
    return _whole(Path(folder), model)


def _progress_bar(report: Callable[[float], None]) -> type[Any]:
    """A silent progress bar class for the hub client that reports the share of the bytes fetched."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            super().__init__(*arguments, **{**options, "disable": False, "file": _Nowhere()})

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self._counts_bytes and self.total:
                report(min(1.0, self.n / self.total))
            return shown

    return Bar


class _Nowhere:
    """A text stream that drops what is written."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is held."""
