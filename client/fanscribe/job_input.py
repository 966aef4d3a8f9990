"""The input of a job, checked by the worker that gets it: an engine's or the orchestrator."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fanscribe.contracts.errors import ErrorCode
from fanscribe.contracts.version import CONTRACT_VERSION, major

_FAULTS_SHOWN, _FAULT_CHARS = 5, 300
"""How much a refusal says: names of fields, too, are the sender's own, and may be as long as a request."""

Input = TypeVar("Input", bound=BaseModel)


class Refused(Exception):
    """The job cannot be done as it was asked for; becomes the job's error."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def checked(model: type[Input], body: object, me: str) -> Input:
    """The input of a job, where it fits the contract; `me` is what the worker calls itself.

    Raises Refused; its message repeats no value that was sent.
    """
    if not isinstance(body, Mapping):
        raise Refused(ErrorCode.INVALID_INPUT, "input must be a JSON object")
    version = body.get("contract_version")
    if isinstance(version, str) and major(version) != major(CONTRACT_VERSION):
        raise Refused(
            ErrorCode.CONTRACT_MISMATCH,
            f"this {me} speaks contract version {CONTRACT_VERSION}, the request {version[:20]!r}: "
            "deploy the same version of fanscribe on both sides",
        )
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        said = [
            f"field {_path(each['loc'])}: {_said(each['type'], each['msg'])}"
            for each in faults[:_FAULTS_SHOWN]
        ]
        raise Refused(ErrorCode.INVALID_INPUT, "; ".join(map(_shortened, said))) from error


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "input"


def _said(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "is unknown; check its spelling"
    return message.removeprefix("Value error, ")


def _shortened(said: str) -> str:
    return said if len(said) <= _FAULT_CHARS else f"{said[:_FAULT_CHARS]}…"
