"""Plan, run and merge one request."""
