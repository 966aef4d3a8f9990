"""Start a Parakeet worker: `python -m fanscribe_handlers.parakeet`."""

from fanscribe_handlers.engine import Engine
from fanscribe_handlers.worker import serve


def make_engine(threads: int) -> Engine:
    """The engine, imported only now: OpenMP reads the environment, which `serve` sets, when it is loaded."""
    from fanscribe_handlers.parakeet.engine import ParakeetEngine

    return ParakeetEngine(threads)


if __name__ == "__main__":
    serve(make_engine, "parakeet")
