"""`Client`: calls that wait for their answer. One client serves many threads."""

from __future__ import annotations

import time
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


class Client:
    """``timeout``: no wait of a call is longer than so many seconds, and no retry begins later;
    ``connections``: open at once, kept and used again; ``verify``: False or an SSL context, where the
    certificate is not publicly signed.

    ``base_url`` and the tokens are taken from ``KAREC_URL``, ``KAREC_TOKEN``, ``KAREC_EVENTS_TOKEN`` and
    ``KAREC_WORKS_TOKEN`` where they are not told. Every call raises Problem (the service refused it) or
    Unreachable.
    """

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
        self._http = httpx.Client(limits=pool(connections), verify=verify)

    def recommend(
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
        return self._send(calls.recommend(request))

    def recommend_many(self, requests: Sequence[Request | Id]) -> tuple[Feed, ...]:
        """A feed for each request or user, in their order."""
        return self._send(calls.recommend_many(calls.as_requests(requests))).answers

    def record(self, events: Iterable[Mapping[str, Any]]) -> Recorded:
        """What users did: rows as `HotSwap.record` takes them; ``id`` and ``time_ms`` are added where
        missing."""
        return self._send(calls.record(self._naming.named(events)))

    def works(self, rows: Iterable[Mapping[str, Any]]) -> Recorded:
        """What happened to works, many at once: rows with ``kind``, as the calls below make them."""
        return self._send(calls.works(self._naming.named(rows)))

    def upload(self, work: Id, creator: Id, columns: Mapping[str, Any] | None = None) -> Recorded:
        return self.works([calls.of_work("upload", work, creator=creator, columns=columns)])

    def edit(self, work: Id, columns: Mapping[str, Any]) -> Recorded:
        return self.works([calls.of_work("edit", work, columns=columns)])

    def delete(self, work: Id) -> Recorded:
        return self.works([calls.of_work("delete", work)])

    def block(self, work: Id | None = None, *, creator: Id | None = None) -> Recorded:
        return self.works([calls.of_work_or_creator("block", work, creator)])

    def unblock(self, work: Id | None = None, *, creator: Id | None = None) -> Recorded:
        return self.works([calls.of_work_or_creator("unblock", work, creator)])

    def adjust(self, work: Id, *, scale: float | None = None, offset: float | None = None) -> Recorded:
        return self.works([calls.of_work("adjust", work, scale=scale, offset=offset)])

    def user(self, user: Id, *, scene: str | None = None) -> User:
        """What is known of a user."""
        return self._send(calls.user(user, scene))

    def work(self, work: Id, *, scene: str | None = None) -> Work:
        """What is known of a work."""
        return self._send(calls.work(work, scene))

    def status(self) -> dict[str, Any]:
        """Funnel, latencies, versions, ages, as the service's page shows them."""
        return self._send(calls.STATUS)

    def version(self) -> dict[str, Any]:
        return self._send(calls.VERSION)

    def ready(self) -> bool:
        """Whether the service takes requests: False while it starts or ends. Unreachable: nobody answers."""
        try:
            self._send(calls.READY)
        except Problem as problem:
            if problem.status == httpx.codes.SERVICE_UNAVAILABLE:
                return False
            raise
        return True

    def _send(self, call: Call[Answer]) -> Answer:
        attempts = Attempts(call, self._retries, self._timeout)
        url, headers = self._connection.request(call)
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.request(
                    call.method, url, content=call.body, headers=headers, timeout=attempts.seconds_left()
                )
            except httpx.TransportError as error:
                outcome = error
            wait = attempts.wait_after(outcome)
            if wait is None:
                return answer_of(call, outcome)
            time.sleep(wait)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self._connection.base_url)!r})"
