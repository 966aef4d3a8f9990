"""The wire: what is sent and what comes back. No I/O."""
