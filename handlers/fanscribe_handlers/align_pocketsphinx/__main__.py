"""Start a pocketsphinx alignment worker: `python -m fanscribe_handlers.align_pocketsphinx`."""

from fanscribe_handlers.align_pocketsphinx.engine import PocketsphinxEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(PocketsphinxEngine, "align_pocketsphinx")
