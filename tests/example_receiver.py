"""The documentation's example of a receiver of notifications, as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "receive_notifications.py"


def load() -> ModuleType:
    """The example, imported by its path."""
    spec = importlib.util.spec_from_file_location(FILE.stem, FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
