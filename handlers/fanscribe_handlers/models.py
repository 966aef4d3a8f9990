"""Where the weights of a variant lie on this machine.

The places are asked in this order, and the first that has every file wins: the folder given by the operator,
the platform's Model Store, the Hugging Face cache, packaged weights, weights bundled with the engine family,
a download from the hub.

A model of several repositories (`also` in its variant file) is one folder too: the files of its own repository,
and each further repository in a sub-folder by its name (`pyannote/segmentation-3.0/pytorch_model.bin`). The operator
gives such a folder; from the other places, where each repository may lie elsewhere, it is made of links.

The model of a combination is one folder as well: the model of each part in a sub-folder by the part's id.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from platformdirs import user_cache_path

from fanscribe.contracts.variant import Model, Variant
from fanscribe_handlers.download_progress import progress_bar
from fanscribe_handlers.joining import join
from fanscribe_handlers.packaged import NotPackaged, unpack

MODEL_STORE = Path("/runpod-volume/huggingface-cache/hub")
"""Where the platform's Model Store mounts cached models, in the layout of a Hugging Face cache."""

MODEL_STORE_VARIABLE = "FANSCRIBE_MODEL_STORE"
"""Environment variable that names another Model Store root, for hosts that mount it elsewhere."""

_STORE = "Model Store"

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGINGFACE_ACCESS_TOKEN")

_DEFAULT_REVISION = "main"

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

    def of_part(self, name: str) -> "Places":
        """The places of a part of a combination: the operator's folder has a sub-folder for each."""
        return replace(self, given=self.given / name if self.given else None)


def locate(
    variant: Variant,
    places: Places,
    environ: MutableMapping[str, str],
    report: Report = lambda share, line: None,
) -> Path:
    """The folder that holds the weights of `variant`, fetched or unpacked first where needed.

    When everything lies in the Model Store, HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE are set in `environ`, so that no
    library asks the hub again. Raises ModelMissing when no place has the model, or one of its repositories.
    """
    if variant.parts:
        return _locate_parts(variant, places, environ, report)
    model = variant.model
    main = _first(
        variant.id,
        {
            "given folder": lambda: _given(model, places),
            _STORE: lambda: _model_store(model, places),
            "Hugging Face cache": lambda: _hub_cache(model, places),
            "packaged weights": lambda: _packaged(model, places, report),
            "bundled weights": lambda: _bundled(variant),
            "hub download": lambda: _hub(model, places, report),
        },
    )
    if main.folder == places.given:
        return main.folder
    parts = {str(part.repo): _part(variant.id, part, places, report) for part in model.also}
    if all(found.place == _STORE for found in (main, *parts.values())):
        _go_offline(environ)
    if not parts:
        return main.folder
    return join(main.folder, {repo: found.folder for repo, found in parts.items()}, places.cache / "joined")


def _locate_parts(
    variant: Variant, places: Places, environ: MutableMapping[str, str], report: Report
) -> Path:
    """One folder with a sub-folder for each part. The hub stays in reach unless no part needs it."""
    asked: dict[str, str] = {}  # what one part alone would do without must not be kept from the others
    found = {part.id: locate(part, places.of_part(part.id), asked, report) for part in variant.parts}
    offline_where_stored(variant, places, environ)
    if places.given is not None and all(found[name] == places.given / name for name in found):
        return places.given
    return join(None, found, places.cache / "joined")


def _part(variant: str, part: Model, places: Places, report: Report) -> "_Found":
    """Where a further repository of a variant's model lies."""
    return _first(
        f"{variant} (its part {part.repo})",
        {
            _STORE: lambda: _model_store(part, places),
            "Hugging Face cache": lambda: _hub_cache(part, places),
            "hub download": lambda: _hub(part, places, report),
        },
    )


@dataclass(frozen=True, slots=True)
class _Found:
    folder: Path
    place: str


def _first(what: str, looks: Mapping[str, Callable[[], Path]]) -> _Found:
    """The answer of the first place that has it. Raises ModelMissing with what each place said."""
    steps = []
    for place, look in looks.items():
        try:
            folder = look()
        except _NotHere as missing:
            steps.append(f"{place}: {missing}")
            continue
        _log.info("the model of %s lies in %s (%s)", what, folder, place)
        return _Found(folder, place)
    raise ModelMissing(what, steps)


def offline_where_stored(variant: Variant, places: Places, environ: MutableMapping[str, str]) -> None:
    """Set HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE in `environ` where the Model Store has the whole model.

    To be called before an engine's libraries are imported: they read these variables then.
    """
    fetched = [model for model in variant.models if not variant.parts or model.source == "huggingface"]
    with contextlib.suppress(_NotHere):
        for model in fetched:
            _model_store(model, places)
        if fetched:
            _go_offline(environ)


def _go_offline(environ: MutableMapping[str, str]) -> None:
    environ["HF_HUB_OFFLINE"] = environ["TRANSFORMERS_OFFLINE"] = "1"


def broken_promise(variant: Variant, places: Places) -> str | None:
    """What is wrong with the place where this host should hold the model; None where all is well or none is promised.

    Promised are the folder given by the operator, a repository that the Model Store has, and bundled weights. It
    looks for files and reads none, so it takes milliseconds.
    """
    if variant.parts:
        broken = (broken_promise(part, places.of_part(part.id)) for part in variant.parts)
        return "; ".join(each for each in broken if each is not None) or None
    model, faults = variant.model, []
    promises: list[tuple[str, Callable[[], Path]]] = []
    if places.given is not None:
        promises.append(("FANSCRIBE_MODEL_DIR", lambda: _given(model, places)))
    with contextlib.suppress(_NotHere):
        _stored_repository(model, places)
        promises.append((_STORE, lambda: _model_store(model, places)))
    if model.source == "bundled":
        promises.append(("bundled weights", lambda: _bundled(variant)))
    for name, look in promises:
        try:
            look()
        except _NotHere as missing:
            faults.append(f"{name}: {missing}")
        else:
            return None
    return "; ".join(faults) or None


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
    for part in model.also:
        _whole(places.given / str(part.repo), part)
    return _whole(places.given, model)


def _repo(model: Model) -> str:
    if model.repo is None:
        raise _NotHere("the variant names no hub repository")
    return model.repo


def _model_store(model: Model, places: Places) -> Path:
    return _whole(_snapshot(_stored_repository(model, places), model.revision), model)


def _stored_repository(model: Model, places: Places) -> Path:
    wanted = "models--" + _repo(model).replace("/", "--")
    if not places.store.is_dir():
        raise _NotHere(f"there is no folder {places.store}")
    # Folder names keep the case of the repository id, but the platform may be given it in any case.
    found = [entry for entry in sorted(places.store.iterdir()) if entry.name.lower() == wanted.lower()]
    if not found:
        raise _NotHere(f"{places.store} has no {wanted}")
    return found[0]


def _snapshot(repository: Path, revision: str) -> Path:
    snapshots = repository / "snapshots"
    reference = repository / "refs" / revision
    if reference.is_file():
        return snapshots / reference.read_text(encoding="utf-8").strip()
    if (snapshots / revision).is_dir():
        return snapshots / revision
    available = sorted(entry for entry in snapshots.iterdir() if entry.is_dir()) if snapshots.is_dir() else []
    if not available:
        raise _NotHere(f"{repository} has no snapshot")
    if revision != _DEFAULT_REVISION:
        raise _NotHere(
            f"{repository} has no revision {revision}: name it behind a colon where the model is attached"
        )
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
    if model.gated and not places.token:  # the hub would only refuse
        raise _NotHere(f"{repo} is gated: accept its licence at {page} and {token_advice}")
    try:
        folder = huggingface_hub.snapshot_download(
            repo,
            revision=model.revision,
            allow_patterns=model.files or None,
            token=places.token if places.token else False,
            tqdm_class=progress_bar(lambda share: report(share, f"downloading {repo}")),
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
