"""Which addresses a reference may lead to, and that inline bytes arrive as they were."""

import base64
import io
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from fanscribe.fetch import address_allowed, fetch

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)


@given(IPV4)
def test_only_public_ipv4_addresses_pass(ip: IPv4Address) -> None:
    if address_allowed(ip):
        assert ip.is_global
        kinds = (ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast, ip.is_reserved)
        assert not any((*kinds, ip.is_unspecified))
    assert address_allowed(str(ip)) == address_allowed(ip)


@given(IPV6)
def test_only_public_ipv6_addresses_pass(ip: IPv6Address) -> None:
    carried = ip.ipv4_mapped or ip in IPv6Network("64:ff9b::/96")
    if address_allowed(ip) and not carried:
        assert ip.is_global
        kinds = (ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast)
        assert not any((*kinds, ip.is_site_local, ip.is_unspecified))


@given(IPV4)
def test_an_ipv4_address_in_ipv6_dress_is_judged_as_itself(ip: IPv4Address) -> None:
    allowed = address_allowed(ip)
    assert address_allowed(IPv6Address(b"\0" * 10 + b"\xff\xff" + ip.packed)) == allowed
    assert address_allowed(IPv6Address(b"\0\x64\xff\x9b" + b"\0" * 8 + ip.packed)) == allowed
    assert address_allowed(IPv6Address(b"\x20\x02" + ip.packed + b"\0" * 10)) == allowed
    assert not address_allowed(IPv6Address(b"\0" * 12 + ip.packed))  # IPv4-compatible, deprecated


@given(st.text(max_size=20))
def test_text_that_is_no_address_is_not_allowed(text: str) -> None:
    assert address_allowed(f"x{text}") is False


@given(st.binary(min_size=1, max_size=2000))
def test_inline_bytes_arrive_as_they_were(data: bytes) -> None:
    for reference in (
        "data:audio/flac;base64," + base64.b64encode(data).decode(),
        "data:;base64," + base64.urlsafe_b64encode(data).decode().rstrip("="),
        "data:application/octet-stream," + quote_from_bytes(data),
    ):
        target = io.BytesIO()
        assert fetch(reference, target).size_bytes == len(data)
        assert target.getvalue() == data
