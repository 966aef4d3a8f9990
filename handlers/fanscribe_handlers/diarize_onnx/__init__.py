"""Speaker diarization without torch: segmentation-3.0 and CAM++ on onnxruntime."""
