"""The first address that gives the product is taken; where none does, the error tells the most hopeful reason."""

from __future__ import annotations

import asyncio

import pytest

from raysearch.errors import FormatError, NothingToSearch, ProductForbidden, ProductNotFound, ReadError, StoreUnavailable
from raysearch.read.places import Nowhere, first_place

ERRORS = {"gone": ProductNotFound, "closed": ProductForbidden, "down": StoreUnavailable, "odd": ReadError, "bad": FormatError}


async def action(uri: str) -> str:
    if uri in ERRORS:
        raise ERRORS[uri](f"{uri}!")
    return uri.upper()


def test_the_first_that_gives_it_is_taken() -> None:
    assert asyncio.run(first_place(("gone", "down", "a", "b"), action)) == "A"


def test_an_error_about_the_content_ends_the_search_and_names_the_file() -> None:
    with pytest.raises(FormatError, match="bad: bad!"):
        asyncio.run(first_place(("gone", "bad", "a"), action))


@pytest.mark.parametrize(
    ("uris", "kind"),
    [
        (("gone", "down", "closed"), StoreUnavailable),
        (("gone", "closed"), ProductForbidden),
        (("gone", "odd"), ReadError),
        (("gone",), ProductNotFound),
        ((), ProductNotFound),
    ],
)
def test_nowhere_is_told_by_the_most_hopeful_reason(uris: tuple[str, ...], kind: type[Exception]) -> None:
    with pytest.raises(Nowhere) as caught:
        asyncio.run(first_place(uris, action))
    told = caught.value.told("obs", "failed")
    assert type(told) is kind
    assert str(told) == ("; ".join(f"{uri}!" for uri in uris) or "obs has no address")


def test_what_is_not_there_may_be_skipped() -> None:
    assert isinstance(Nowhere([ProductNotFound("x")]).told("obs", "skipped"), NothingToSearch)
    assert isinstance(Nowhere([ProductNotFound("x"), StoreUnavailable("y")]).told("obs", "skipped"), StoreUnavailable)
