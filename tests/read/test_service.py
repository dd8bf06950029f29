"""What the cutout service is asked, and what is made of its answers; the boxes themselves are tested with the reader of images."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from raysearch.errors import FormatError, RequestRefused, StoreUnavailable
from raysearch.model import Target, Usage
from raysearch.read import service
from raysearch.read.service import MARGIN_DEG, CutoutService

TARGETS = (Target("a", 10.5, -3.25), Target("b", 0.0, 89.0))


class Answers:
    """A store that answers with what it is told."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def get(self, uri: str, usage: Usage) -> bytes:
        usage.requests += 1
        self.asked.append(uri)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get_ranges(self, uri: str, ranges: object, usage: Usage) -> list[bytes]:
        raise AssertionError

    async def close(self) -> None:
        pass


def fetch(store: Answers, uri: str = "https://x/a.fits") -> list[tuple[str, bytes]]:
    async def run() -> list[tuple[str, bytes]]:
        found = await CutoutService(store).fetch(uri, TARGETS, 0.1, Usage())
        return [(target.name, await file.read(0, 100)) for target, file in found]

    return asyncio.run(run())


def test_packed_and_plain_answers_and_refusals() -> None:
    assert fetch(Answers(gzip.compress(b"one"), b"two")) == [("a", b"one"), ("b", b"two")]
    assert fetch(Answers(RequestRefused("400"), b"two")) == [("b", b"two")]


def test_the_box_is_asked_for_in_degrees_with_a_margin() -> None:
    store = Answers(b"", b"")
    fetch(store)
    assert store.asked[0] == f"https://x/a.fits?center=10.5,-3.25&size={0.1 + MARGIN_DEG:.8f}"
    store = Answers(b"", b"")
    fetch(store, "https://x/get?file=a.fits")
    assert store.asked[1].startswith("https://x/get?file=a.fits&center=0.0,89.0&size=")


def test_a_failure_is_told() -> None:
    with pytest.raises(StoreUnavailable):
        fetch(Answers(b"one", StoreUnavailable("down")))
    with pytest.raises(FormatError, match="damaged file"):
        fetch(Answers(gzip.compress(b"one" * 99)[:-9], b"two"))


def test_a_small_answer_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LARGEST", 100_000)
    assert len(fetch(Answers(gzip.compress(bytes(100_000)), gzip.compress(b"b")))) == 2
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < 20_000
    with pytest.raises(FormatError, match="unpacks to more than 100,000 bytes"):
        fetch(Answers(bomb, bomb))
