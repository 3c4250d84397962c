"""How much load one process gives: `karec load` at rising rates, and karec.client, against a server that only
answers.

    python bench/load_table.py [--seconds 5]

The server, in a process of its own, sends the same feed of ten works to whatever it is asked. ``late``:
requests that the generator began more than 5 ms after their moment.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection

import uvloop
from msgspec import json

from karec.client import AsyncClient
from karec.load.report import report
from karec.load.run import Plan, in_loop
from karec.load.target import Target
from karec.load.traffic import Asked

USER, CONNECTIONS, AT_ONCE = 1, 64, 8
RATES = (1_000, 2_000, 4_000, 8_000, 12_000, 16_000, 24_000)
ITEM = {
    "score": 1.0,
    "recalled_by": ["model", "fresh"],
    "columns": {"creator_id": 1, "song_id": 2, "type": "audio"},
}
FEED = json.encode(
    {"user": USER, "scene": "home", "items": [ITEM | {"position": i, "id": i} for i in range(10)]}
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(FEED),
    FEED,
)


class Answering(asyncio.Protocol):
    """Requests come one at a time; each ends with the brace of its JSON."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


def serve(told: Connection) -> None:
    async def serving() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serving())


async def by_client(url: str, seconds: float) -> float:
    """Requests a second of AsyncClient, ``AT_ONCE`` at once, each sent when the one before it has its
    answer."""
    async with AsyncClient(url, connections=AT_ONCE) as client:
        until, done = time.monotonic() + seconds, 0

        async def asking() -> None:
            nonlocal done
            while time.monotonic() < until:
                await client.recommend(USER)
                done += 1

        await asyncio.gather(*(asking() for _ in range(AT_ONCE)))
        return done / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate")
    seconds = parser.parse_args().seconds
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}"
        print(f"{'rate':>8} {'answered':>9} {'p50 ms':>7} {'p99 ms':>7} {'core':>5} {'late':>6}  behind")
        for rate in RATES:
            plan = Plan(Target.of(url, {}), Asked([USER]), rate, seconds, connections=CONNECTIONS)
            told = report(plan, in_loop(plan.play()), 0.0)
            latency, generator = told["latency_ms"]["from_moment"], told["generator"]
            print(
                f"{rate:8,} {told['answered_per_s']:9,.0f} {latency['p50']:7.2f} {latency['p99']:7.2f} "
                f"{generator['cpu_share']:5.0%} {generator['late_share']:6.2%}  {generator['fell_behind']}"
            )
        print(
            f"karec.client.AsyncClient, {AT_ONCE} at once: {in_loop(by_client(url, seconds)):,.0f} a second"
        )
    finally:
        server.kill()


if __name__ == "__main__":
    main()
