"""Where a product can be had: the first address that gives it, and what is said where none does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

from raysearch.errors import (
    FormatError,
    NothingToSearch,
    ProductForbidden,
    ProductNotFound,
    ProductReplaced,
    ReadError,
    StoreUnavailable,
)
from raysearch.masking import masked
from raysearch.model import Usage

Result = TypeVar("Result")
Missing = Literal["failed", "skipped"]
"""How an observation ends whose product is nowhere to be found."""

MOST_READS = 3
"""How often an observation is read whose products are replaced meanwhile."""


class Nowhere(Exception):
    """No address gave the product."""

    def __init__(self, failures: Sequence[ReadError]) -> None:
        super().__init__("; ".join(str(exc) for exc in failures))
        self.failures = tuple(failures)
        """One for each address."""

    def told(self, obs_id: str, missing: Missing) -> Exception:
        """Return what the observation ends with: the most hopeful kind of error, naming every place."""
        tried = str(self) or f"{obs_id} has no address"
        for kind in (StoreUnavailable, ProductForbidden):
            if any(isinstance(exc, kind) for exc in self.failures):
                return kind(tried)
        if not all(isinstance(exc, ProductNotFound) for exc in self.failures):
            return ReadError(tried)
        if missing == "skipped":
            return NothingToSearch(f"product can be had nowhere: {tried}")
        return ProductNotFound(tried)


async def of_one_version(usage: Usage, read: Callable[[], Awaitable[Result]]) -> Result:
    """Return what reading gives, begun anew where a product is replaced meanwhile: nothing of two versions is mixed.

    Raises
    ------
    ProductReplaced
        It happened `MOST_READS` times in a row.
    """
    for _ in range(MOST_READS - 1):
        try:
            return await read()
        except ProductReplaced:
            usage.versions.clear()
            usage.sizes.clear()
    try:
        return await read()
    except ProductReplaced as exc:
        raise ProductReplaced(
            f"{exc}, {MOST_READS} times in a row; read it again, with --since, when its archive has settled"
        ) from exc


async def first_place(uris: Sequence[str], action: Callable[[str], Awaitable[Result]]) -> Result:
    """Return what the action gives at the first address where the product can be had; errors about its content name it.

    Raises
    ------
    Nowhere
        There is no such address.
    """
    failures: list[ReadError] = []
    for uri in uris:
        try:
            with naming(uri):
                return await action(uri)
        except ProductReplaced:
            raise
        except ReadError as exc:
            failures.append(exc)
    raise Nowhere(failures)


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Let errors about a file's content name the file."""
    try:
        yield
    except (FormatError, NothingToSearch) as exc:
        exc.args = (f"{masked(uri)}: {exc}",)
        raise
