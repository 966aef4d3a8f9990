"""The orchestrator endpoint: the pipeline of the client, hosted (not built yet)."""
