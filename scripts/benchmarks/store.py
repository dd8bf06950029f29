"""Compare the S3 clients on loopback: many small ranges, a delayed first byte, and bounded concurrency.

Run it as `python scripts/benchmarks/store.py [--ranges 1000] [--kb 64] [--concurrency 32] [--delay 0.03 0.06] [--rounds 5]`.
The server is a process of its own; rounds of the clients alternate. CPU is that of the client's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import statistics
import time
from multiprocessing.connection import Connection

from raysearch.model import Usage
from raysearch.read.store import StoreConfig, open_store

OBJECT_BYTES = 34_000_000
CLIENTS = ("obstore", "s3fs")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: memoryview, delay: tuple[float, float]) -> None:
    try:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
            asked = next(line for line in head.splitlines() if line.lower().startswith("range:"))
            first, last = map(int, asked.partition("bytes=")[2].split("-"))
            body = data[first : last + 1]
            await asyncio.sleep(random.uniform(*delay))
            lines = [
                "HTTP/1.1 206 Partial Content",
                f"Content-Length: {len(body)}",
                f"Content-Range: bytes {first}-{last}/{len(data)}",
            ]
            lines += ['ETag: "x"', "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(port: Connection, delay: tuple[float, float]) -> None:
    async def main() -> None:
        data = memoryview(random.randbytes(OBJECT_BYTES))
        server = await asyncio.start_server(lambda r, w: answer(r, w, data, delay), "127.0.0.1", 0, backlog=512)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(client: str, endpoint: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return the wall and CPU seconds of reading all ranges; the first connection is made before."""
    store = open_store(StoreConfig(s3_endpoint=endpoint, s3_client=client, max_concurrent=options.concurrency))
    size, usage = options.kb * 1024, Usage()
    starts = [random.randrange(OBJECT_BYTES - size) for _ in range(options.ranges)]
    await store.get_ranges("s3://bucket/warm", [(0, 1)], usage)
    wall, cpu = time.perf_counter(), cpu_s()
    await store.get_ranges("s3://bucket/cube.fits", [(start, start + size) for start in starts], usage)
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    await store.close()
    assert usage.bytes_read == options.ranges * size + 1
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranges", type=int, default=1000)
    parser.add_argument("--kb", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--delay", type=float, nargs=2, default=(0.03, 0.06))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, tuple(options.delay)), daemon=True)
    server.start()
    endpoint = f"http://127.0.0.1:{ours.recv()}"
    results: dict[str, list[tuple[float, float]]] = {client: [] for client in CLIENTS}
    for _ in range(options.rounds):
        for client in CLIENTS:
            results[client].append(asyncio.run(measure(client, endpoint, options)))
    server.terminate()
    server.join()
    print(f"{options.ranges} ranges of {options.kb} KiB, {options.concurrency} at once, first byte after {options.delay} s")
    for client, rounds in results.items():
        rates = [options.ranges / wall for wall, _ in rounds]
        cpu = statistics.median(cpu for _, cpu in rounds) / options.ranges * 1e3
        median = statistics.median(rates)
        print(f"{client:8} {median:6.0f} requests/s (from {min(rates):.0f} to {max(rates):.0f}), {cpu:.2f} ms CPU a request")


if __name__ == "__main__":
    main()
