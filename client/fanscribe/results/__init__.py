"""Work that was paid for once, kept by content: finished tasks, lists of cuts, what endpoints were seen to do.

`keys` says under which name something is kept (pure), `envelope` how it is written so that damage shows (pure),
`folder` and `bucket` where: one interface, `ResultStore`. `learned` keeps the measured factors of endpoints.
Transcripts are private: no name, message or log line here holds any of their text.
"""

from fanscribe.results.keys import (
    Kind,
    cuts_key,
    engine_key,
    file_digest,
    job_key,
    request_key,
    task_key,
)
from fanscribe.results.learned import LearnedFactors
from fanscribe.results.store import Entry, ResultStore, learned_file, open_results

__all__ = [
    "Entry",
    "Kind",
    "LearnedFactors",
    "ResultStore",
    "cuts_key",
    "engine_key",
    "file_digest",
    "job_key",
    "learned_file",
    "open_results",
    "request_key",
    "task_key",
]
