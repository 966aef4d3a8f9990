"""Several engines in one worker: one endpoint, one request, a transcript that says who said what."""
