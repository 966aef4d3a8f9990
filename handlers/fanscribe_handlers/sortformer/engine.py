"""Sortformer as an engine.

Options of a variant: `window_s` (seconds of a recording that an offline model takes in one pass, 90 to 720; by default
what the GPU's free memory allows) and `precision` (bfloat16, the default, or float32: of the network on a GPU).
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Context, InvalidTask, Task
from fanscribe_handlers.sortformer.activity import diarize_result
from fanscribe_handlers.sortformer.options import options_of
from fanscribe_handlers.speakers import bounds_of

if TYPE_CHECKING:
    from fanscribe_handlers.sortformer.model import SortformerModel


class SortformerEngine:
    """One Sortformer model. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._model: SortformerModel | None = None

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"nemo_toolkit {version('nemo_toolkit')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the one .nemo file in `model_dir`. Raises ValueError for an option that does not exist, ModelMissing."""
        options = options_of(variant)
        # Imported only now: it takes many seconds, and the load runs while the worker starts.
        from fanscribe_handlers.sortformer.model import SortformerModel

        self._model = SortformerModel(model_dir, variant.id, options, self._threads)

    def run(self, task: Task, context: Context) -> DiarizeResult:
        """Say who speaks when. Raises InvalidTask for more speakers than the model knows, Cancelled, OutOfMemory."""
        assert self._model is not None
        assert isinstance(task.input, DiarizeInput)
        refuse_too_many(task.input, self._model.speakers)

        def progress(share: float) -> None:
            context.check()
            context.report(share)

        context.check()
        heard = self._model.hear(task.samples, progress)
        context.report(1.0)
        return diarize_result(heard, bounds_of(task.input), task.duration_s)


def refuse_too_many(asked: DiarizeInput, most: int) -> None:
    """Raise InvalidTask if the task wants more speakers than the model can tell apart."""
    for field in ("num_speakers", "min_speakers"):
        wanted = getattr(asked, field)
        if wanted is not None and wanted > most:
            raise InvalidTask(
                f"field {field}: the model tells at most {most} speakers apart, not {wanted}: "
                "leave it out, or diarize with a pyannote variant"
            )
