"""Speaker diarization with pyannote.audio on PyTorch: speaker-diarization-3.1 and community-1."""
