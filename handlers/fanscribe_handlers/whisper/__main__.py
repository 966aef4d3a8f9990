"""Start a Whisper worker: `python -m fanscribe_handlers.whisper`."""

from fanscribe_handlers.engine import Engine
from fanscribe_handlers.worker import serve


def make_engine(threads: int) -> Engine:
    """The engine, imported only now: OpenMP reads the environment, which `serve` sets, when it is loaded."""
    from fanscribe_handlers.whisper.engine import WhisperEngine

    return WhisperEngine(threads)


if __name__ == "__main__":
    serve(make_engine, "whisper")
