"""The one place that opens a URL: https, s3 and data references become local bytes, within a policy."""

from fanscribe.fetch.address import address_allowed
from fanscribe.fetch.dispatch import fetch
from fanscribe.fetch.policy import Fetched, FetchPolicy

__all__ = ["FetchPolicy", "Fetched", "address_allowed", "fetch"]
