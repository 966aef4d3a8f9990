"""Parakeet TDT through onnx-asr: a small image without PyTorch."""
