"""Start a diarization worker: `python -m fanscribe_handlers.diarize_onnx`."""

from fanscribe_handlers.diarize_onnx.engine import DiarizeOnnxEngine
from fanscribe_handlers.worker import serve

if __name__ == "__main__":
    serve(DiarizeOnnxEngine, "diarize_onnx")
