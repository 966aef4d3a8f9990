"""The GPU side: one folder per engine family."""
