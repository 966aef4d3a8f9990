"""Addresses under which whoever has no credentials may read one object of a bucket for a while."""

from typing import Any
from urllib.parse import urlsplit

from fanscribe.contracts.errors import TransportError
from fanscribe.fetch.address import Resolver, address_allowed, resolve
from fanscribe.s3 import Place, endpoint_of, presigns, read_object, s3_client

LIFETIME_S = 86_400
"""How long an address can be read: as long as the platform keeps a job by default. One that was signed with temporary
credentials ends with them."""


def presigned(
    client: Any,
    place: Place,
    endpoint: str | None,
    *,
    lifetime_s: int = LIFETIME_S,
    resolver: Resolver = resolve,
) -> str | None:
    """A presigned https URL of an object; None where the store has none, or cannot be reached from outside.

    `endpoint` is the store's address, None for Amazon's own. Signing sends nothing. Raises TransportError without
    credentials.
    """
    from botocore.exceptions import BotoCoreError

    if not (presigns(endpoint) and _public(endpoint, resolver)):
        return None
    try:
        url: str = client.generate_presigned_url(
            "get_object", Params={"Bucket": place.bucket, "Key": place.key}, ExpiresIn=lifetime_s
        )
    except BotoCoreError as error:
        raise TransportError(
            f"{place}: cannot be signed ({type(error).__name__}); check credentials"
        ) from error
    return url


def reading_address(reference: str) -> str | None:
    """The address of a recording for workers without credentials; None where there is none but the audio itself.

    An https URL is that already; an s3 reference becomes a presigned one where that can be. Blocking (a name may be
    looked up). Raises TransportError without credentials, UsageError where boto3 cannot be set up.
    """
    if reference.startswith("https://"):
        return None if "@" in reference.split("/")[2] else reference
    if not reference.startswith("s3://"):
        return None
    client = s3_client(connect_timeout_s=10.0, read_timeout_s=30.0, attempts=1)
    try:
        return presigned(client, read_object(reference), endpoint_of())
    finally:
        client.close()


def _public(endpoint: str | None, resolver: Resolver) -> bool:
    """Whether workers elsewhere may read from the store's address: https, and no private one."""
    if endpoint is None:
        return True
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname:
        return False
    try:
        return all(address_allowed(each) for each in resolver(parts.hostname, parts.port or 443))
    except OSError:
        return False
