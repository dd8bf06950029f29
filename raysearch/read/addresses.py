"""What an address tells before it is asked: whose it is, whether it may be followed, and what of it messages may show."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

AT_ONCE = {"irsa.ipac.caltech.edu": 4}
"""Host -> requests under way there at most, by one process: the fifth cutout at a time is refused by IRSA."""

SECRET_KEYS = re.compile(r"sig|token|credential|secret|password|api_?key|access_?key", re.IGNORECASE)
_NUMERIC = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE)


def host_of(address: str) -> str:
    """Return the host that an address names, without a dot at its end; empty where it names none."""
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_inside(host: str) -> bool:
    """Return whether a host is this machine, or in a private network, as far as its name tells."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        # resolvers also take 127.1, 0x7f000001 and 2130706433 for addresses
        return host == "localhost" or host.endswith(".localhost") or bool(_NUMERIC.fullmatch(host.rpartition(".")[2]))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return not (mapped or address).is_global


def is_astray(here: str, there: str) -> bool:
    """Return whether a redirect leads where none may: to what is no HTTP address, or from outside into this machine's network.

    `there` may be relative to `here`.
    """
    try:
        address = urljoin(here, there)
        scheme = urlsplit(address).scheme
    except ValueError:
        return True
    host = host_of(address)
    return scheme not in {"http", "https"} or not host or (is_inside(host) and not is_inside(host_of(here)))


def named(uri: str) -> str:
    """Return the address as messages may show it: without passwords, tokens and signatures."""
    if "@" not in uri and "?" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.partition("?")[0].rpartition("@")[2]
    query = parts.query
    if SECRET_KEYS.search(query):
        pairs = [(key, "***" if SECRET_KEYS.search(key) else value) for key, value in parse_qsl(query, keep_blank_values=True)]
        query = urlencode(pairs, safe=":/*")
    host = parts.netloc.rpartition("@")[2] if "://" in uri else parts.netloc
    return urlunsplit(parts._replace(netloc=host, query=query))
