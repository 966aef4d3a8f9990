"""Ids of a trace and its spans, in the form of W3C Trace Context."""

import re
import secrets
from collections.abc import Callable
from typing import Self

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Ids:
    """The ids of one trace. `parent` is the caller's span, where the trace is a part of the caller's; `root` is the
    span of the request itself.

    `token` gives so many random bytes as hexadecimal digits.
    """

    def __init__(
        self,
        trace: str | None = None,
        parent: str | None = None,
        *,
        sampled: bool = True,
        token: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self.trace = trace or token(16)
        self.parent = parent
        self.sampled = sampled
        self.root = token(8)
        self._token = token

    @classmethod
    def within(cls, traceparent: str | None, token: Callable[[int], str] = secrets.token_hex) -> Self:
        """The ids of a trace that goes on with the caller's; of one of its own where the text is no traceparent, as
        the recommendation asks for.
        """
        found = _FORM.fullmatch(traceparent.strip()) if traceparent else None
        if found is None:
            return cls(token=token)
        version, trace, parent, flags, more = found.groups()
        wrong = version == "ff" or (version == "00" and more) or not (int(trace, 16) and int(parent, 16))
        if wrong:
            return cls(token=token)
        return cls(trace, parent, sampled=bool(int(flags, 16) & 1), token=token)

    @property
    def traceparent(self) -> str:
        """What somebody whom this request calls goes on with."""
        return f"00-{self.trace}-{self.root}-{int(self.sampled):02x}"

    def span(self) -> str:
        """A new span's id."""
        return self._token(8)
