"""Start a pyannote worker: `python -m fanscribe_handlers.pyannote`."""

from fanscribe_handlers.pyannote.engine import PyannoteEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(PyannoteEngine, "pyannote")
