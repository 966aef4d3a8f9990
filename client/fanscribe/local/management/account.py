"""One account: its endpoints, templates, volumes and registries, and the rules by which they change. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from fanscribe.local.management.catalogue import cpu_faults, gpu_faults, gpu_ids, instance_id
from fanscribe.local.management.records import (
    Change,
    Container,
    Endpoint,
    Registry,
    Template,
    Volume,
    released,
)

USER_ID = "local"

Record = TypeVar("Record")


class Refused(Exception):
    """A call that is not carried out; `errors` are the single faults of its body."""

    def __init__(self, status: int, detail: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


class AccountError(ValueError):
    """A file that should hold an account does not; the message names it."""


@dataclass(slots=True)
class Holdings:
    """Everything an account holds, by id, the oldest first."""

    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    registries: dict[str, Registry] = field(default_factory=dict)


class Account:
    """An account. Every change is checked first; a call that is refused changes nothing.

    `deployed` is called with each endpoint that is new or has changed, `deleted` with the id of one that is
    gone, and `changed` after every change. `worker_limit` bounds the sum of all endpoints' maximum.
    """

    def __init__(
        self,
        *,
        new_id: Callable[[], str],
        now: Callable[[], datetime],
        deployed: Callable[[Endpoint], None],
        deleted: Callable[[str], None],
        changed: Callable[[], None],
        worker_limit: int | None = None,
        holdings: Holdings | None = None,
    ) -> None:
        self.holdings = holdings or Holdings()
        self.worker_limit = worker_limit
        self.new_id = new_id
        self.now = now
        self._deployed, self._deleted, self._changed = deployed, deleted, changed

    # Endpoints.

    def endpoint(self, endpoint_id: str) -> Endpoint:
        """The endpoint of that id. Raises Refused."""
        return _found(self.holdings.endpoints, endpoint_id, "endpoint")

    def save_endpoint(self, wanted: Endpoint) -> Endpoint:
        """Keep a new or changed endpoint, with a new release if its workers have to change. Raises Refused."""
        self._check_endpoint(wanted)
        known = self.holdings.endpoints.get(wanted.id)
        if known is not None and replace(wanted, releases=known.releases) == known:
            return known
        changes = () if known is None else changes_between(known, wanted)
        if known is None or changes:
            wanted = released(wanted, changes, self.new_id(), self.now())
        self._deployed(wanted)
        self.holdings.endpoints[wanted.id] = wanted
        self._changed()
        return wanted

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Delete an endpoint without workers. Raises Refused."""
        endpoint = self.endpoint(endpoint_id)
        if endpoint.workers_min or endpoint.workers_max:
            raise Refused(
                400,
                f"endpoint {endpoint_id} may still have workers: set the minimum and the maximum of its workers to"
                " 0 before it is deleted",
            )
        del self.holdings.endpoints[endpoint_id]
        self._deleted(endpoint_id)
        self._changed()

    def _check_endpoint(self, wanted: Endpoint) -> None:
        if not wanted.container.image:
            raise Refused(422, "an endpoint needs an image", ("image: is required",))
        faults = [] if wanted.gpu is None else gpu_faults(wanted.gpu)
        faults += cpu_faults(wanted.cpu)
        if (wanted.gpu is None) == (not wanted.cpu):
            faults.append("an endpoint runs on gpu or on cpu: exactly one of the two")
        if wanted.workers_min > wanted.workers_max:
            faults.append(f"workers.min {wanted.workers_min} is more than workers.max {wanted.workers_max}")
        faults += _container_faults(wanted.container)
        if faults:
            raise Refused(400, "; ".join(faults))
        for volume in wanted.volumes:
            _found(self.holdings.volumes, volume, "network volume")
        self._check_registry(wanted.container)
        self._check_quota(wanted)

    def _check_quota(self, wanted: Endpoint) -> None:
        if self.worker_limit is None:
            return
        known = self.holdings.endpoints.get(wanted.id)
        if known is not None and wanted.workers_max <= known.workers_max:
            return
        others = sum(each.workers_max for each in self.holdings.endpoints.values() if each.id != wanted.id)
        if others + wanted.workers_max > self.worker_limit:
            raise Refused(
                400,
                f"the maximum of workers over all endpoints would be {others + wanted.workers_max}, and this"
                f" account's limit is {self.worker_limit}",
            )

    def _check_registry(self, container: Container) -> None:
        if container.registry is not None:
            _found(self.holdings.registries, container.registry, "registry credential")

    # Templates.

    def template(self, template_id: str) -> Template:
        """The template of that id. Raises Refused."""
        return _found(self.holdings.templates, template_id, "template")

    def bound_to(self, template_id: str) -> Endpoint | None:
        """The endpoint that is bound to this template."""
        return next((e for e in self.holdings.endpoints.values() if e.template_id == template_id), None)

    def save_template(self, wanted: Template) -> Template:
        """Keep a new or changed template. Raises Refused."""
        faults = _container_faults(wanted.container)
        if faults:
            raise Refused(400, "; ".join(faults))
        self._check_registry(wanted.container)
        if self.holdings.templates.get(wanted.id) != wanted:
            self.holdings.templates[wanted.id] = wanted
            self._changed()
        return wanted

    def delete_template(self, template_id: str) -> None:
        """Delete a template that no endpoint is bound to. Raises Refused."""
        template = self.template(template_id)
        bound = self.bound_to(template_id)
        if bound is not None:
            raise Refused(
                400, f"template {template.name} is in use by endpoint {bound.id}; delete that one first"
            )
        del self.holdings.templates[template_id]
        self._changed()

    # Volumes and registries.

    def volume(self, volume_id: str) -> Volume:
        """The network volume of that id. Raises Refused."""
        return _found(self.holdings.volumes, volume_id, "network volume")

    def save_volume(self, wanted: Volume) -> Volume:
        """Keep a new or changed volume, which only ever grows. Raises Refused."""
        known = self.holdings.volumes.get(wanted.id)
        if known is not None and wanted.size < known.size:
            raise Refused(400, f"size: a network volume only grows; {wanted.id} has {known.size} GB")
        if known != wanted:
            self.holdings.volumes[wanted.id] = wanted
            self._changed()
        return wanted

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume that no endpoint uses. Raises Refused."""
        self.volume(volume_id)
        users = [each.id for each in self.holdings.endpoints.values() if volume_id in each.volumes]
        if users:
            raise Refused(400, f"network volume {volume_id} is in use by endpoint {', '.join(users)}")
        del self.holdings.volumes[volume_id]
        self._changed()

    def registry(self, registry_id: str) -> Registry:
        """The registry credential of that id. Raises Refused."""
        return _found(self.holdings.registries, registry_id, "registry credential")

    def save_registry(self, wanted: Registry) -> Registry:
        """Keep a registry credential."""
        self.holdings.registries[wanted.id] = wanted
        self._changed()
        return wanted

    def delete_registry(self, registry_id: str) -> None:
        """Delete a credential that no endpoint uses; templates silently lose it. Raises Refused."""
        self.registry(registry_id)
        held = self.holdings
        users = [each.id for each in held.endpoints.values() if each.container.registry == registry_id]
        if users:
            raise Refused(400, f"registry credential {registry_id} is in use by endpoint {', '.join(users)}")
        for template in list(held.templates.values()):
            if template.container.registry == registry_id:
                held.templates[template.id] = replace(
                    template, container=replace(template.container, registry=None)
                )
        del held.registries[registry_id]
        self._changed()


def changes_between(old: Endpoint, new: Endpoint) -> tuple[Change, ...]:
    """What differs in the settings that workers are made of, under the platform's names for them."""
    before, after = _worker_settings(old), _worker_settings(new)
    return tuple(Change(name, before[name], after[name]) for name in before if before[name] != after[name])


def _worker_settings(endpoint: Endpoint) -> dict[str, Any]:
    container, gpu = endpoint.container, endpoint.gpu
    return {
        "template.imageName": container.image,
        "template.dockerArgs": container.args,
        "template.containerDiskInGb": container.disk,
        "template.env": dict(container.env),
        "template.ports": list(container.ports),
        "template.containerRegistryAuthId": container.registry,
        "gpuIds": gpu_ids(gpu),
        "gpuCount": gpu.count if gpu else 0,
        "allowedCudaVersions": list(gpu.allowed_cuda) if gpu else [],
        "minCudaVersion": gpu.min_cuda if gpu else "",
        "instanceIds": [instance_id(each) for each in endpoint.cpu],
        "locations": list(endpoint.data_centers),
        "networkVolumeIds": list(endpoint.volumes),
        "modelReferences": list(endpoint.models),
    }


def _container_faults(container: Container) -> list[str]:
    bad = sorted(name for name in container.env if not name or "=" in name or "\0" in name)
    faults = [f"env: {name!r} cannot be the name of a variable" for name in bad]
    faults += [f"env.{name}: holds a NUL character" for name, text in container.env.items() if "\0" in text]
    return faults


def _found(held: Mapping[str, Record], record_id: str, kind: str) -> Record:
    record = held.get(record_id)
    if record is None:
        raise Refused(404, f"{kind} {record_id} does not exist in this account")
    return record
