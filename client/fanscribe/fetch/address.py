"""Which network addresses a reference from outside may lead to: public unicast ones only."""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx2

Resolver = Callable[[str, int], list[str]]
"""Takes host and port, gives every address of the host; raises OSError where there is none."""

_REFUSED_V4 = tuple(
    IPv4Network(block)
    for block in (  # IANA IPv4 Special-Purpose Address Registry, and multicast with all that is above it
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")  # all that IANA has given out as global unicast
_REFUSED_V6 = tuple(
    IPv6Network(block)
    for block in (  # IANA IPv6 Special-Purpose Address Registry, as far as it lies in 2000::/3
        "2001::/23",
        "2001:db8::/32",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; the IPv4 address is in the last four bytes
_6TO4 = IPv6Network("2002::/16")  # RFC 3056; the IPv4 address is in bytes 2 to 5


def address_allowed(ip: str | IPv4Address | IPv6Address) -> bool:
    """Whether an address is public unicast. An address that carries an IPv4 one is judged by that.

    Private, loopback, link-local, shared (CGNAT), documentation, benchmarking, reserved and multicast
    addresses are not, nor is text that is no address.
    """
    try:
        address = ip_address(ip) if isinstance(ip, str) else ip
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _REFUSED_V4)
    inner = _carried(address)
    if inner is not None:
        return address_allowed(inner)
    if address.scope_id is not None:
        return False
    return address in _GLOBAL_V6 and not any(address in block for block in _REFUSED_V6)


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(address.packed[12:])
    if address in _6TO4:
        return IPv4Address(address.packed[2:6])
    return None


def resolve(host: str, port: int) -> list[str]:
    """Every address of `host`, in the system's order of preference. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def ascii_host(url: httpx2.URL) -> str:
    """The host of a URL as it goes over the wire, an IPv6 address without its brackets."""
    return url.raw_host.decode("ascii").strip("[]")


def is_address(host: str) -> bool:
    """Whether a host is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
