"""Start a Parakeet worker that runs on ONNX Runtime: `python -m fanscribe_handlers.parakeet_onnx`."""

from fanscribe_handlers.engine import Engine
from fanscribe_handlers.worker import serve


def make_engine(threads: int) -> Engine:
    """The engine, imported only now: OpenMP reads the environment, which `serve` sets, when it is loaded."""
    from fanscribe_handlers.parakeet_onnx.engine import ParakeetOnnxEngine

    return ParakeetOnnxEngine(threads)


if __name__ == "__main__":
    serve(make_engine, "parakeet_onnx")
