"""The embedded diarizer as an engine.

Options of a variant: `step_s` and `anchor_step_s` (2.5), `short_s` (45), `threshold` (pyannote's); see `Settings`.
"""

from importlib.metadata import version
from pathlib import Path

from fanscribe.contracts.task import DiarizeInput, DiarizeResult
from fanscribe.contracts.variant import Variant
from fanscribe_handlers.diarize_onnx.recipe import Networks, Settings, diarize
from fanscribe_handlers.diarize_onnx.session import open_network
from fanscribe_handlers.engine import Context, Task
from fanscribe_handlers.speakers import bounds_of

SEGMENTATION = "segmentation-3.0.onnx"
EMBEDDING = "campplus.onnx"


class DiarizeOnnxEngine:
    """pyannote segmentation-3.0 and CAM++ on onnxruntime. `threads` is the number of CPU threads it may use."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._networks: Networks | None = None
        self._settings = Settings()

    @property
    def version(self) -> str:
        """The library's name and version."""
        return f"onnxruntime {version('onnxruntime')}"

    def load(self, variant: Variant, model_dir: Path) -> None:
        """Load the two ONNX files from `model_dir`. Raises ValueError for an option that does not exist."""
        self._settings = settings_of(variant)
        self._networks = Networks(
            segmentation=open_network(model_dir / SEGMENTATION, self._threads),
            embedding=open_network(model_dir / EMBEDDING, self._threads),
        )

    def run(self, task: Task, context: Context) -> DiarizeResult:
        """Say who speaks when. Raises Cancelled."""
        assert self._networks is not None
        assert isinstance(task.input, DiarizeInput)

        def progress(share: float) -> None:
            context.check()
            context.report(share)

        context.check()
        result = diarize(task.samples, self._networks, self._settings, bounds_of(task.input), progress)
        context.report(1.0)
        return result


def settings_of(variant: Variant) -> Settings:
    """The variant's options. Raises ValueError that names one which does not exist or is no number above 0."""
    known = Settings.__dataclass_fields__
    for name, value in variant.options.items():
        if name not in known:
            raise ValueError(f"variant {variant.id}: there is no option {name!r}; use {', '.join(known)}")
        if isinstance(value, str) or value <= 0:
            raise ValueError(f"variant {variant.id}: option {name} is {value!r}; give a number above 0")
    return Settings(**{name: float(value) for name, value in variant.options.items()})
