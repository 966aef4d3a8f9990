"""pyannote.audio as an engine.

Options of a variant: `batch_size` (windows of 10 s at a time; by default what the GPU's free memory allows) and
`precision` (float16, the default, or float32: of the speaker embedding's convolutions on a GPU).
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.engine import Context, Task
from fanscribe_handlers.pyannote.options import options_of

if TYPE_CHECKING:
    from fanscribe_handlers.pyannote.diarizer import Diarizer

TELEMETRY_VARIABLE = "PYANNOTE_METRICS_ENABLED"
"""pyannote.audio 4 reports to its makers how long recordings are and how many speakers were asked for, unless this
environment variable is false. A worker sends nothing, unless its operator sets it to true."""


class PyannoteEngine:
    """One pyannote pipeline. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._diarizer: Diarizer | None = None

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"pyannote.audio {version('pyannote.audio')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the pipeline from `model_dir`.

        Raises ValueError for an option that does not exist, WrongConfiguration for a folder that is no pipeline.
        """
        options = options_of(variant)
        os.environ.setdefault(TELEMETRY_VARIABLE, "false")
        # Imported only now: it takes seconds, and the load runs while the worker starts.
        from fanscribe_handlers.pyannote.diarizer import Diarizer

        self._diarizer = Diarizer(model_dir, options, self._threads)

    def run(self, task: Task, context: Context) -> DiarizeResult:
        """Say who speaks when. Raises Cancelled, OutOfMemory."""
        assert self._diarizer is not None
        assert isinstance(task.input, DiarizeInput)

        def progress(share: float) -> None:
            context.check()
            context.report(share)

        context.check()
        return self._diarizer.diarize(task.samples, task.input, progress)
