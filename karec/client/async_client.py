"""`AsyncClient`: the calls of `Client` as coroutines, for one event loop of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from karec.client import calls
from karec.client.attempts import Attempts, answer_of, shown
from karec.client.calls import Answer, Call, Naming
from karec.client.connection import Connection, Verify, pool
from karec.client.failures import Problem
from karec.client.messages import Feed, Id, Recorded, Request, User, Work


class AsyncClient:
    """Its arguments are those of `Client`. Every call raises Problem (the service refused it) or
    Unreachable."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        token: str | None = None,
        events_token: str | None = None,
        works_token: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        connections: int = 100,
        verify: Verify = True,
    ) -> None:
        self._connection = Connection.of(base_url, token, events_token, works_token)
        self._timeout, self._retries, self._naming = timeout, retries, Naming()
        self._http = httpx.AsyncClient(limits=pool(connections), verify=verify)

    async def recommend(
        self,
        user: Id,
        *,
        scene: str | None = None,
        k: int | None = None,
        shown: Sequence[Id] = (),
        context: Mapping[str, float | str | bool] | None = None,
        time_ms: int | None = None,
        request_id: str = "",
        deadline_ms: float | None = None,
        explain: bool = False,
    ) -> Feed:
        """A feed for one user; what is not told the service chooses."""
        request = Request(
            user=user,
            scene=scene,
            k=k,
            shown=shown,
            context=context,
            time_ms=time_ms,
            request_id=request_id,
            deadline_ms=deadline_ms,
            explain=explain,
        )
        return await self._send(calls.recommend(request))

    async def recommend_many(self, requests: Sequence[Request | Id]) -> tuple[Feed, ...]:
        """A feed for each request or user, in their order."""
        return (await self._send(calls.recommend_many(calls.as_requests(requests)))).answers

    async def record(self, events: Iterable[Mapping[str, Any]]) -> Recorded:
        """What users did: rows as `HotSwap.record` takes them; ``id`` and ``time_ms`` are added where
        missing."""
        return await self._send(calls.record(self._naming.named(events)))

    async def works(self, rows: Iterable[Mapping[str, Any]]) -> Recorded:
        """What happened to works, many at once: rows with ``kind``, as the calls below make them."""
        return await self._send(calls.works(self._naming.named(rows)))

    async def upload(self, work: Id, creator: Id, columns: Mapping[str, Any] | None = None) -> Recorded:
        return await self.works([calls.of_work("upload", work, creator=creator, columns=columns)])

    async def edit(self, work: Id, columns: Mapping[str, Any]) -> Recorded:
        return await self.works([calls.of_work("edit", work, columns=columns)])

    async def delete(self, work: Id) -> Recorded:
        return await self.works([calls.of_work("delete", work)])

    async def block(self, work: Id | None = None, *, creator: Id | None = None) -> Recorded:
        return await self.works([calls.of_work_or_creator("block", work, creator)])

    async def unblock(self, work: Id | None = None, *, creator: Id | None = None) -> Recorded:
        return await self.works([calls.of_work_or_creator("unblock", work, creator)])

    async def adjust(self, work: Id, *, scale: float | None = None, offset: float | None = None) -> Recorded:
        return await self.works([calls.of_work("adjust", work, scale=scale, offset=offset)])

    async def user(self, user: Id, *, scene: str | None = None) -> User:
        """What is known of a user."""
        return await self._send(calls.user(user, scene))

    async def work(self, work: Id, *, scene: str | None = None) -> Work:
        """What is known of a work."""
        return await self._send(calls.work(work, scene))

    async def status(self) -> dict[str, Any]:
        """Funnel, latencies, versions, ages, as the service's page shows them."""
        return await self._send(calls.STATUS)

    async def version(self) -> dict[str, Any]:
        return await self._send(calls.VERSION)

    async def ready(self) -> bool:
        """Whether the service takes requests: False while it starts or ends. Unreachable: nobody answers."""
        try:
            await self._send(calls.READY)
        except Problem as problem:
            if problem.status == httpx.codes.SERVICE_UNAVAILABLE:
                return False
            raise
        return True

    async def _send(self, call: Call[Answer]) -> Answer:
        attempts = Attempts(call, self._retries, self._timeout)
        url, headers = self._connection.request(call)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.request(
                    call.method, url, content=call.body, headers=headers, timeout=attempts.seconds_left()
                )
            except httpx.TransportError as error:
                outcome = error
            wait = attempts.wait_after(outcome)
            if wait is None:
                return answer_of(call, outcome)
            await asyncio.sleep(wait)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self._connection.base_url)!r})"
