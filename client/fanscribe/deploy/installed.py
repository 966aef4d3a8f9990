"""Whether an engine family's libraries are on this machine: those of the distribution's extra of its name."""

import re
from importlib import metadata

_DISTRIBUTION = "fanscribe"
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[(?P<extras>[^\]]+)\])?")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")


def family_installed(family: str) -> bool:
    """Whether everything that the family's extra asks for is there. A family without an extra needs nothing more."""
    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return True
    return _there(family.replace("_", "-"), requirements)


def _there(extra: str, requirements: list[str]) -> bool:
    for line in requirements:
        named = _EXTRA.search(line)
        found = _REQUIREMENT.match(line)
        if named is None or found is None or named["extra"] != extra:
            continue
        if found["name"] == _DISTRIBUTION:
            if not all(_there(each.strip(), requirements) for each in (found["extras"] or "").split(",")):
                return False
            continue
        try:
            metadata.version(found["name"])
        except metadata.PackageNotFoundError:
            return False
    return True
