"""What an address tells before it is asked: whose it is, and whether it may be followed."""

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin, urlsplit

AT_ONCE = {"irsa.ipac.caltech.edu": 4}
"""Host -> requests under way there at most, by one process: the fifth cutout at a time is refused by IRSA."""

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an address of version 4."""
_NUMERIC = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE)


def host_of(address: str) -> str:
    """Return the host that an address names, without a dot at its end; empty where it names none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_inside(host: str) -> bool:
    """Return whether a host is this machine, or in a private network, as far as its name tells."""
    address = _number_of(host)
    if address is None:  # resolvers also take 127.1, 0x7f000001 and 2130706433 for addresses
        return host == "localhost" or host.endswith(".localhost") or bool(_NUMERIC.fullmatch(host.rpartition(".")[2]))
    return not address.is_global or address.is_multicast


def _number_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the number that a host's name is, that of version 4 within one of version 6; None where it is a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    within = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    nat64 = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
    return within or nat64 or address


def may_be_read(address: str, own: Collection[str]) -> bool:
    """Return whether an address out of an archive's answer may be read: no file, and no host inside but the user's `own`."""
    host = host_of(address)
    scheme = address.partition("://")[0].lower()
    return scheme == "s3" or (scheme in {"http", "https"} and host != "" and (host in own or not is_inside(host)))


def is_astray(here: str, there: str) -> bool:
    """Return whether a redirect leads where none may: to what is no HTTP address, or from outside into this machine's network.

    Nor does one from inside lead to another link-local host, as a cloud's metadata service is. `there` may be relative to `here`.
    """
    try:
        address = urljoin(here, there)
        scheme = urlsplit(address).scheme
    except ValueError:
        return True
    host = host_of(address)
    if scheme not in {"http", "https"} or not host:
        return True
    if not is_inside(host) or host == host_of(here):
        return False
    number = _number_of(host)
    return not is_inside(host_of(here)) or (number is not None and number.is_link_local)
