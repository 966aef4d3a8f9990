"""Speaker diarization with NVIDIA's Sortformer in NeMo: one network from sound to who speaks, up to four people."""
