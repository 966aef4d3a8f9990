"""Secrets by name: put into a worker's environment when it starts, hidden wherever a worker's words are shown."""

import re
from collections.abc import Mapping
from types import MappingProxyType

_REFERENCE = re.compile(r"\{\{\s*RUNPOD_SECRET_(\w+)\s*\}\}")
_HIDDEN = "***"
# A shorter value would be found in half of all lines, and is nobody's secret.
_SHORTEST_HIDDEN = 4


class Secrets:
    """The secrets of an account. Their values leave it only through `resolved`."""

    def __init__(self, values: Mapping[str, str] = MappingProxyType({})) -> None:
        self._values = dict(values)
        # The longest first: one value may be part of another.
        shown = [value for value in self._values.values() if len(value) >= _SHORTEST_HIDDEN]
        self._hide = sorted(set(shown), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self.names)})"

    @property
    def names(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self._values)

    def missing(self, environment: Mapping[str, str]) -> list[str]:
        """Names that the values of an environment refer to and that are not known here, sorted."""
        named = {name for value in environment.values() for name in _REFERENCE.findall(value)}
        return sorted(named - self._values.keys())

    def resolved(self, value: str) -> str:
        """The value with each `{{ RUNPOD_SECRET_name }}` replaced; unknown ones stay as they are."""
        return _REFERENCE.sub(lambda found: self._values.get(found[1], found[0]), value)

    def hidden(self, text: str) -> str:
        """The text with the values of all secrets taken out."""
        for value in self._hide:
            text = text.replace(value, _HIDDEN)
        return text
