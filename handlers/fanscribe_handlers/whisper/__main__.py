"""Start a Whisper worker: `python -m fanscribe_handlers.whisper`."""

from fanscribe_handlers.whisper.engine import WhisperEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(WhisperEngine, "whisper")
