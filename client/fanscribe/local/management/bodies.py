"""The bodies of REST requests: what may be in them. Unknown and ill-typed fields are refused."""
# ruff: noqa: N815 - fields have the names that the platform's schema gives them

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from fanscribe.local.management.account import Refused

Name = Annotated[str, StringConstraints(min_length=1)]
CudaVersion = Annotated[str, StringConstraints(pattern=r"^\d+\.\d+$")]
CudaFloor = Annotated[str, StringConstraints(pattern=r"^$|^\d+\.\d+$")]
GpuTypeId = Annotated[str, StringConstraints(pattern=r"^\s*[^-\s]")]
Body = TypeVar("Body", bound=BaseModel)


def _different(items: list[Any]) -> list[Any]:
    if any(item in items[:place] for place, item in enumerate(items)):
        raise ValueError("an entry is there twice")
    return items


Different = AfterValidator(_different)
# Null is refused all the same: only what a request gives is validated.
LEFT_OUT: Any = Field(default=None)


class _Fields(BaseModel):
    # Defaults stand for what is left out; which fields were given tells `model_fields_set`.
    model_config = ConfigDict(extra="forbid", strict=True)

    def given(self, *names: str) -> dict[str, Any]:
        """The fields among these that the request has."""
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}


class ContainerFields(_Fields):
    """What templates and endpoints share."""

    image: str = ""
    args: str = ""
    disk: Annotated[int, Field(ge=1)] = 20
    env: dict[str, str] = {}
    ports: list[str] = []
    registry: str | None = None


class GpuFields(_Fields):
    """The cards of a new endpoint."""

    pools: Annotated[list[str], Field(min_length=1)]
    excludedTypes: Annotated[list[GpuTypeId], Different] = []
    count: Annotated[int, Field(ge=1)] = 1
    allowedCudaVersions: list[CudaVersion] = []
    minCudaVersion: CudaVersion = ""


class GpuChange(GpuFields):
    """A change of the cards."""

    pools: Annotated[list[str], Field(min_length=1)] = []
    minCudaVersion: CudaFloor = ""

    @model_validator(mode="after")
    def _exclusions_need_pools(self) -> Self:
        if "excludedTypes" in self.model_fields_set and "pools" not in self.model_fields_set:
            raise ValueError("excludedTypes needs pools: the two are one choice")
        return self


class CpuFields(_Fields):
    """A processor."""

    id: Name
    vcpuCount: Annotated[int, Field(ge=2)]


class QueueDelay(_Fields):
    """Scaling on the time that jobs wait, in seconds."""

    type: Literal["QUEUE_DELAY"]
    queueDelay: Annotated[float, Field(ge=0.5)]


class RequestCount(_Fields):
    """Scaling on the requests per worker."""

    type: Literal["REQUEST_COUNT"]
    requestCount: Annotated[int, Field(ge=1)]


Scaling = Annotated[QueueDelay | RequestCount, Field(discriminator="type")]


class WorkerFields(_Fields):
    """How many workers, and how long an idle one stays, in seconds."""

    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=0)] = 3
    idleTimeout: Annotated[int, Field(ge=1, le=3600)] = 10


class EndpointChange(ContainerFields):
    """The body that changes an endpoint."""

    name: Name = ""
    scaling: Scaling = LEFT_OUT
    gpu: GpuChange = LEFT_OUT
    cpu: Annotated[list[CpuFields], Field(min_length=1), Different] = []
    workers: WorkerFields = WorkerFields()
    dataCenterIds: list[str] = []
    networkVolumes: list[str] = []
    flashboot: Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"] = "OFF"
    timeout: int = 300_000
    templateId: str = ""


class NewEndpoint(EndpointChange):
    """The body that creates an endpoint."""

    name: Name
    type: Literal["QUEUE", "LOAD_BALANCER"]
    scaling: Scaling
    gpu: GpuFields = LEFT_OUT  # type: ignore[assignment]  # a new choice has to be whole
    templateId: Name = ""


class PersistentMount(_Fields):
    """A mount of a template, of so many GB."""

    size: Annotated[int, Field(ge=10)]
    path: str


class MountFields(_Fields):
    """The mounts of a template."""

    persistent: PersistentMount = LEFT_OUT


class TemplateChange(ContainerFields):
    """The body that changes a template."""

    name: Name = ""
    allowedCudaVersions: list[CudaVersion] = []
    category: Literal["CPU", "NVIDIA", "AMD"] = "NVIDIA"
    mounts: MountFields = MountFields()
    public: bool = False
    serverless: bool = False
    startJupyter: bool = True
    startSsh: bool = True


class NewTemplate(TemplateChange):
    """The body that creates a template."""

    name: Name
    image: str


class VolumeChange(_Fields):
    """The body that changes a network volume."""

    name: Name = ""
    size: Annotated[int, Field(ge=10, le=4096)] = 10

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("at least one field must be given")
        return self


class NewVolume(VolumeChange):
    """The body that creates a network volume."""

    name: Name
    size: Annotated[int, Field(ge=10, le=4096)]
    dataCenter: Name
    type: Literal["STANDARD", "HIGH_PERFORMANCE"] = "STANDARD"


class NewRegistry(_Fields):
    """The body that creates a registry credential."""

    name: Name
    username: Name
    password: Name


def read(kind: type[Body], body: Any) -> Body:
    """Check a parsed body; raises Refused (422) with one entry for each fault in it."""
    if not isinstance(body, Mapping):
        raise Refused(422, "the request body is not a JSON object", ("body: must be a JSON object",))
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        # Never the input itself: it may hold a secret.
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise invalid(*(f"{_path(each['loc'])}: {each['msg']}" for each in faults)) from None


def invalid(*faults: str) -> Refused:
    """The refusal of a body with these faults."""
    return Refused(422, f"the request body is not valid: {'; '.join(faults)}", faults)


def _path(loc: tuple[int | str, ...]) -> str:
    # The tag of the scaling union is no field.
    names = [str(part) for part in loc if part not in ("QUEUE_DELAY", "REQUEST_COUNT")]
    return ".".join(names) or "body"
