"""Start an alignment worker: `python -m fanscribe_handlers.align`."""

from fanscribe_handlers.align.engine import AlignEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(AlignEngine, "align")
