"""The orchestrator endpoint: the pipeline of the client, hosted. One job in, a finished transcript out."""
