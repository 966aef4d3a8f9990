"""Start a Sortformer worker: `python -m fanscribe_handlers.sortformer`."""

from fanscribe_handlers.sortformer.engine import SortformerEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(SortformerEngine, "sortformer")
