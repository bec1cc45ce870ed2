import asyncio
import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.targets import (
    Allowed,
    Target,
    TargetForbidden,
    find_addresses,
    is_open,
    literal,
    read_target,
    resolve_host,
)

NOTHING = Allowed()
INNER = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
]
INNER_V6 = [
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


def addresses(url: str, *found: str, allowed: Allowed = NOTHING, error: OSError | None = None) -> list[str]:
    """Return the addresses of a target whose name stands for those."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        if error is not None:
            raise error
        return found

    return asyncio.run(find_addresses(read_target(url), allowed, resolve))


@pytest.mark.parametrize("address", INNER + INNER_V6)
def test_inner_addresses_are_not_open_in_any_form(address: str) -> None:
    assert not is_open(address, NOTHING)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(TargetForbidden):
        addresses(f"http://{host}/")
    with pytest.raises(TargetForbidden):
        addresses("http://receiver.example/", "8.8.8.8", address)


@pytest.mark.parametrize("address", INNER)
@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}"])
def test_inner_addresses_are_not_open_inside_of_others(address: str, form: str) -> None:
    assert not is_open(form.format(address), NOTHING)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert is_open(address, NOTHING)
    assert addresses("https://receiver.example/", address, address) == [address]


@given(st.ip_addresses(v=4))
def test_no_address_of_a_private_network_is_open(address: ipaddress.IPv4Address) -> None:
    if is_open(str(address), NOTHING):
        assert address.is_global
    assert is_open(str(address), NOTHING) == is_open(f"::ffff:{address}", NOTHING)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "fe80::1%eth0", "1.2.3.4/32"])
def test_what_is_no_address_is_not_open(text: str) -> None:
    assert not is_open(text, NOTHING)
    assert literal(text) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receiver.example",
        "//receiver.example",
        "ftp://receiver.example",
        "file:///etc/passwd",
        "gopher://receiver.example",
        "http://",
        "http:///x",
        "http://user@receiver.example",
        "http://user:password@receiver.example",
        "http://receiver.example@127.0.0.1",
        "http://127.0.0.1\\@receiver.example",
        "http://receiver.example\\x",
        "http://receiver.example/x#y",
        "http://receiver.example/ x",
        "http://receiver.example/\nx",
        "http://receiver.example:0/",
        "http://receiver.example:65536/",
        "http://receiver.example:8x/",
        "http://receiver.example:/",
        "http://receiver..example/",
        "http://receiver.example./",
        "http://-receiver.example/",
        "http://bücher.example/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0X7F000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://127.0.0.1./",
        "http://1.2.3.4.5/",
        "http://1.2.3.256/",
        "http://receiver.0x1/",
        "http://[::1/",
        "http://[::1%25eth0]/",
        "http://[127.0.0.1]/",
        "http://[v1.x]/",
        f"http://receiver.example/{'x' * 2048}",
        f"http://{'x' * 64}.example/",
    ],
)
def test_an_address_that_is_spelt_oddly_is_forbidden_and_not_repeated(url: str) -> None:
    with pytest.raises(TargetForbidden) as caught:
        read_target(url)
    assert "receiver" not in str(caught.value)
    assert str(caught.value).startswith("must ")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://receiver.example", Target("https", "receiver.example", 443, "receiver.example", "/")),
        (
            "HTTP://Receiver.Example:80/A?b=C",
            Target("http", "receiver.example", 80, "receiver.example:80", "/A?b=C"),
        ),
        ("http://receiver.example?b", Target("http", "receiver.example", 80, "receiver.example", "/?b")),
        ("http://8.8.8.8:8080/", Target("http", "8.8.8.8", 8080, "8.8.8.8:8080", "/")),
        ("http://[2606:4700:0::1111]/", Target("http", "2606:4700::1111", 80, "[2606:4700:0::1111]", "/")),
        (
            "https://xn--bcher-kva.example/",
            Target("https", "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/"),
        ),
    ],
)
def test_usual_addresses_are_read(url: str, target: Target) -> None:
    assert read_target(url) == target


def test_inner_receivers_may_be_allowed_by_name_address_and_network() -> None:
    allowed = Allowed.parse(" Hooks.Inner , 10.0.0.0/8,127.0.0.1, fd00::/8,")
    assert addresses("http://hooks.inner/", "192.168.1.1", allowed=allowed) == ["192.168.1.1"]
    assert addresses("http://other.inner/", "10.1.2.3", allowed=allowed) == ["10.1.2.3"]
    assert addresses("http://127.0.0.1/", allowed=allowed) == ["127.0.0.1"]
    assert addresses("http://[fd00::1]/", allowed=allowed) == ["fd00::1"]
    for url in ("http://127.0.0.2/", "http://[fe80::1]/"):
        with pytest.raises(TargetForbidden):
            addresses(url, allowed=allowed)
    with pytest.raises(TargetForbidden):
        addresses("http://other.inner/", "10.1.2.3", "192.168.1.1", allowed=allowed)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "not a host", "0x7f.1", "http://x", "*"])
def test_what_cannot_be_allowed_is_said_so(text: str) -> None:
    with pytest.raises(ValueError):
        Allowed.parse(text)


def test_a_host_that_is_not_known_or_has_no_address_is_an_error() -> None:
    with pytest.raises(OSError, match="not known"):
        addresses("http://receiver.example/", error=OSError("not known"))
    with pytest.raises(OSError, match="no address"):
        addresses("http://receiver.example/")


def test_the_system_is_asked_for_hosts() -> None:
    assert {"127.0.0.1", "::1"} & set(asyncio.run(resolve_host("localhost", 80)))
    with pytest.raises(OSError):
        asyncio.run(resolve_host("receiver.invalid", 80))
    with pytest.raises(OSError):
        asyncio.run(resolve_host("x" * 64, 80))
