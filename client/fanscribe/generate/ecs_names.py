"""Logical ids and intrinsic functions of a CloudFormation template. Pure."""

import re
from collections.abc import Iterable
from typing import Any

Value = Any
"""What a template may hold at some place: text, numbers, lists, objects, or a function of them."""


def logical_id(*words: str) -> str:
    """Words as one logical id, which takes letters and digits only: `whisper-turbo` becomes WhisperTurbo.

    Names that differ only in what is left out become the same: see `duplicates`.
    """
    parts = [part for word in words for part in re.split(r"[^A-Za-z0-9]+", word) if part]
    return "".join(part[0].upper() + part[1:] for part in parts)


def duplicates(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names whose logical ids are the same."""
    seen: dict[str, str] = {}
    found = []
    for name in names:
        first = seen.setdefault(logical_id(name), name)
        if first != name:
            found.append((first, name))
    return found


def ref(name: str) -> Value:
    """The value of a parameter, or what stands for a resource."""
    return {"Ref": name}


def attribute(name: str, which: str) -> Value:
    """An attribute of a resource."""
    return {"Fn::GetAtt": [name, which]}


def sub(text: str) -> Value:
    """Text with `${Name}` replaced."""
    return {"Fn::Sub": text}


def resource(kind: str, properties: dict[str, Value], depends_on: str | None = None) -> dict[str, Value]:
    """A resource of the template."""
    made: dict[str, Value] = {"Type": kind}
    if depends_on is not None:
        made["DependsOn"] = depends_on
    return made | {"Properties": properties}
