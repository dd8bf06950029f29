"""Names of hosts, resolved; a name out of an archive's answer that means this machine or its network is refused.

A name says nothing of where it leads: whoever answers for it may answer 127.0.0.1, or the address of a cloud's metadata service. So
the numbers decide, and the connection goes to the very numbers that were looked at.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from urllib.request import getproxies

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from raysearch.read.addresses import host_of, is_inside


class LeadsInside(ValueError):
    """A host of somebody else's choice is this machine, or one of its network."""


class OutsideResolver(AbstractResolver):
    """Resolves names of the public network, and those that the user gave."""

    def __init__(self, own: Collection[str]) -> None:
        self._own = {*own, *map(host_of, getproxies().values())}
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Return the numbers of a host.

        Raises
        ------
        LeadsInside
            One of them is no public one, and the host is none of the user's.
        """
        found = await self._resolver.resolve(host, port, family)
        inside = [one["host"] for one in found if is_inside(one["host"].partition("%")[0])]
        if inside and host.rstrip(".") not in self._own:
            raise LeadsInside(f"the archive's host {host} is {inside[0]}, in this machine's own network, where we do not go")
        return found

    async def close(self) -> None:
        """Do nothing: there are no connections."""
