"""Whether an image exists, as its registry tells without a login. Nothing else is asked of it."""

import re
from dataclasses import dataclass
from enum import StrEnum

import httpx2

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Found(StrEnum):
    """What a registry says. UNKNOWN: it did not answer, or asks for a login, as for private images."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's parts. `version`: a tag or a digest."""

    host: str
    name: str
    version: str


def parse(image: str) -> Reference:
    """The parts of an image reference; without a host it is Docker Hub's, without a version `latest`."""
    rest, at, digest = image.partition("@")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, path = first, remainder
    else:
        host, path = "registry-1.docker.io", rest if slash else f"library/{rest}"
    name, colon, tag = path.rpartition(":")
    if not colon:
        name, tag = path, "latest"
    return Reference(host, name, digest if at else tag)


async def image_exists(http: httpx2.AsyncClient, image: str) -> Found:
    """Ask the image's registry, with the anonymous token that public images are given to."""
    reference = parse(image)
    url = f"https://{reference.host}/v2/{reference.name}/manifests/{reference.version}"
    headers = {"Accept": _MANIFESTS}
    try:
        response = await http.head(url, headers=headers)
        if response.status_code == 401:
            token = await _token(http, response.headers.get("WWW-Authenticate", ""))
            if token is None:
                return Found.UNKNOWN
            response = await http.head(url, headers={**headers, "Authorization": f"Bearer {token}"})
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return Found.UNKNOWN
    if response.is_success:
        return Found.YES
    return Found.NO if response.status_code == 404 else Found.UNKNOWN


async def _token(http: httpx2.AsyncClient, challenge: str) -> str | None:
    scheme, _, rest = challenge.partition(" ")
    parts = dict(_CHALLENGE.findall(rest))
    realm = parts.pop("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith("https://"):
        return None
    response = await http.get(realm, params=parts)
    try:
        body = response.json()
        return str(body.get("token") or body.get("access_token") or "") or None
    except (ValueError, AttributeError):
        return None
