"""How far a download from the hub is, told by the hub client's own progress bars."""

from collections.abc import Callable
from typing import Any


def progress_bar(report: Callable[[float], None]) -> type[Any]:
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
