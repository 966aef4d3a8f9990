"""ONNX sessions: which files, which device, how many threads."""

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

try:
    import onnxruntime
except ImportError as error:  # pragma: no cover - the base install has no engine
    raise ImportError("the diarizer needs onnxruntime: pip install 'fanscribe[diarize-onnx]'") from error

THREADS_VARIABLE = "FANSCRIBE_THREADS"
"""Environment variable: CPU threads for one model call; every core when it is not set."""

Array = NDArray[np.float32]


class Network(Protocol):
    """One array in, one array out."""

    def __call__(self, batch: Array) -> Array:
        """Run the network on a batch; the first axis counts the items."""


def threads() -> int:
    """CPU threads for one model call. Raises ValueError when the variable is not a whole number above 0."""
    value = os.environ.get(THREADS_VARIABLE)
    if value is None:
        return len(os.sched_getaffinity(0))
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{THREADS_VARIABLE}={value!r} is no whole number above 0: set it to a count of CPU threads")
    return int(value)


def providers() -> list[str]:
    """Execution providers in order of preference: CUDA where this onnxruntime has it, then the CPU."""
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [name for name in wanted if name in onnxruntime.get_available_providers()]


def open_network(path: Path) -> Network:
    """Load the ONNX file at `path`. Raises FileNotFoundError with the path when it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}: reinstall fanscribe, or run tools/export_diarizer.py")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    # Lengths differ from call to call; remembering an allocation plan for each would only cost memory.
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(str(path), options, providers=providers())
    name = session.get_inputs()[0].name

    def run(batch: Array) -> Array:
        (answer,) = session.run(None, {name: batch})
        return np.asarray(answer, dtype=np.float32)

    return run
