"""A service that `karec serve` runs, called from Python: `Client`, and `AsyncClient` with the same calls as
coroutines.

Loads httpx (extra ``client``) and msgspec, and nothing of the engine.
"""

from karec.errors import MissingExtra

try:
    from karec.client.async_client import AsyncClient
    from karec.client.client import Client
    from karec.client.failures import Problem, Unreachable
    from karec.client.messages import Feed, Item, Recorded, Request, User, Work
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "httpx", "client", "karec.client") from error

__all__ = [
    "AsyncClient",
    "Client",
    "Feed",
    "Item",
    "Problem",
    "Recorded",
    "Request",
    "Unreachable",
    "User",
    "Work",
]
