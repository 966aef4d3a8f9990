"""The pocketsphinx aligner for English: small, for CPUs, and with its model in its package."""
