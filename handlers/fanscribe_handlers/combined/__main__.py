"""Start a worker that combines variants: `python -m fanscribe_handlers.combined`.

FANSCRIBE_VARIANT names a combination; FANSCRIBE_VARIANTS instead the variants to combine (whisper-base,diarize-onnx).
"""

from fanscribe_handlers.combined.engine import CombinedEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(CombinedEngine, "combined")
