"""fanscribe: transcripts that say who said what."""
