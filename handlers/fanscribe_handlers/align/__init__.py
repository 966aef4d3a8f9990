"""The CTC aligners: wav2vec2 and MMS weights through transformers; the pure parts serve other aligners too."""
