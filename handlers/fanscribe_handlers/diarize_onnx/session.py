"""ONNX networks: which file, which device, how many threads."""

from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Network(Protocol):
    """One array in, one array out."""

    def __call__(self, batch: Array) -> Array:
        """Run the network on a batch; the first axis counts the items."""


def providers() -> list[str]:
    """Execution providers in order of preference: CUDA where this onnxruntime has it, then the CPU."""
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [name for name in wanted if name in onnxruntime.get_available_providers()]


def open_network(path: Path, threads: int) -> Network:
    """Load the ONNX file at `path`; one call uses `threads` CPU threads.

    Raises FileNotFoundError with the path when it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no model file {path}: install fanscribe again, or run tools/export_diarizer.py"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Shapes differ from call to call: a plan kept for each of them would only cost memory.
    options.enable_mem_pattern = False
    # Waiting threads sleep instead of spinning: a third less CPU time, and twice the speed beside another engine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=providers())
    name = session.get_inputs()[0].name

    def run(batch: Array) -> Array:
        (answer,) = session.run(None, {name: batch})
        return np.asarray(answer, dtype=np.float32)

    return run
