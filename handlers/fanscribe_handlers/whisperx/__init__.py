"""WhisperX: transcription, alignment and speakers in one pass over a recording."""
