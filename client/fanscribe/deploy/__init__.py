"""From endpoints.toml to endpoints that run."""
