"""A service whose answers are written down, and both clients called by one name."""

import asyncio

import pytest
from scripted_service import scripted_service

from karec.client import AsyncClient, Client


@pytest.fixture
def service(monkeypatch):
    for name in ("KAREC_URL", "KAREC_TOKEN", "KAREC_EVENTS_TOKEN", "KAREC_WORKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with scripted_service() as service:
        yield service


def call_sync(method, *arguments, url=None, client=None, **named):
    with Client(url, **(client or {})) as made:
        return getattr(made, method)(*arguments, **named)


def call_async(method, *arguments, url=None, client=None, **named):
    async def calling():
        async with AsyncClient(url, **(client or {})) as made:
            return await getattr(made, method)(*arguments, **named)

    return asyncio.run(calling())


@pytest.fixture(params=[call_sync, call_async], ids=["Client", "AsyncClient"])
def call(request):
    """call(method, …, url=, client={its settings}): what the method of a new client gives."""
    return request.param
