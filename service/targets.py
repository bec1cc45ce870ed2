"""Targets of webhooks: which addresses the service may be made to connect to, so that nobody reaches what is inside.

A host is resolved once, every address is looked at, and the connection is made to one that was looked at: a name that
answers otherwise a moment later changes nothing. Spellings that libraries read in different ways are refused.

Sources: https://www.iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry; RFC 6052 (NAT64),
RFC 3056 (6to4).
"""

import asyncio
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# From a host and a port to addresses, as text. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
MAX_URL = 2048
RESOLVE_S = 5.0
_URL = re.compile(r"(https?)://([^/?#\\]*)([/?][^#\\]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
# What ends so is read as an address by some libraries, in octal, hexadecimal or as one number.
_NUMERIC = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")
_VISIBLE = re.compile(r"[!-~]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Python knows most of what is not for everybody; these it takes for public.
_INNER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        # A cloud's own server, in a network that is public otherwise.
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "100.64.0.0/10",
        "2001::/23",
        "3fff::/20",
    )
)
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")


class TargetForbidden(Exception):
    """The service does not connect there; the message is a sentence that repeats nothing of the address."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Inner hosts and networks that receivers may be in all the same."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """Return what a list says: names of hosts, addresses and networks, separated by commas.

        Raises:
            ValueError: an entry is none of them.
        """
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in (part.strip().lower() for part in text.split(",")):
            try:
                networks += [ipaddress.ip_network(entry)] if entry else []
            except ValueError:
                if not _HOST.fullmatch(entry) or _NUMERIC.fullmatch(entry):
                    raise
                hosts.add(entry)
        return cls(frozenset(hosts), tuple(networks))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook sends: ``authority`` is what the header Host says, ``path`` goes with its query."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def read_target(url: str) -> Target:
    """Return the parts of an address.

    Raises:
        TargetForbidden: it is no http or https URL, has credentials or a fragment, or spells its host oddly.
    """
    parts = _URL.fullmatch(url) if len(url) <= MAX_URL and _VISIBLE.fullmatch(url) else None
    if parts is None:
        raise TargetForbidden("must be an http or https URL in ASCII without a fragment")
    if "@" in parts[2]:
        raise TargetForbidden("must hold no user name or password")
    place = _AUTHORITY.fullmatch(parts[2])
    scheme = parts[1].lower()
    port = int((place and place[2]) or (443 if scheme == "https" else 80))
    if place is None or not 0 < port < 65536:
        raise TargetForbidden("must name a host, and a port if any, as they are usually written")
    path = parts[3] or "/"
    path = path if path.startswith("/") else f"/{path}"
    return Target(scheme, _host(place[1].lower()), port, parts[2].lower(), path)


async def find_addresses(target: Target, allowed: Allowed, resolve: Resolve) -> list[str]:
    """Return the addresses of a target, all of which may be connected to.

    Raises:
        TargetForbidden: one of them may not.
        OSError: the host cannot be resolved.
    """
    if literal(target.host) is not None:
        found: Sequence[str] = [target.host]
    else:
        async with asyncio.timeout(RESOLVE_S):
            found = await resolve(target.host, target.port)
    if target.host not in allowed.hosts and not all(is_open(one, allowed) for one in found):
        raise TargetForbidden("must be the address of a host in the public network")
    if not found:
        raise OSError("the host has no address")
    return list(dict.fromkeys(found))


def is_open(text: str, allowed: Allowed) -> bool:
    """Return whether an address is public, or in a network that is allowed."""
    address = literal(text)
    if address is None:
        return False
    forms = {address, _inside(address)}
    if any(one in network for network in allowed.networks for one in forms):
        return True
    return all(_is_public(one) for one in forms if not _wraps(one))


def literal(host: str) -> Address | None:
    """Return the address that a text is, None where it is a name, or has a scope."""
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


async def resolve_host(host: str, port: int) -> list[str]:
    """Return what the system knows of a host; a name server that hangs keeps nobody else waiting.

    Raises:
        OSError: it cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str] | OSError] = loop.create_future()

    def tell(found: list[str] | OSError) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        found: list[str] | OSError
        try:
            found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            found = OSError(str(error))
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, found)

    # A thread of its own, which does not keep the process from ending.
    threading.Thread(target=ask, name="resolver", daemon=True).start()
    found = await answer
    if isinstance(found, OSError):
        raise found
    return found


def _host(text: str) -> str:
    if text.startswith("["):
        found = literal(text[1:-1])
        if not isinstance(found, ipaddress.IPv6Address):
            raise TargetForbidden("must name a host as hosts are usually written")
        return str(found)
    if _NUMERIC.fullmatch(text):
        found = literal(text)
        if not isinstance(found, ipaddress.IPv4Address):
            raise TargetForbidden("must spell an address as four decimal numbers")
        return str(found)
    if not _HOST.fullmatch(text):
        raise TargetForbidden("must name a host as hosts are usually written")
    return text


def _inside(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _wraps(address: Address) -> bool:
    return _inside(address) != address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_V6:
        return False
    return not any(address in network for network in _INNER if network.version == address.version)
