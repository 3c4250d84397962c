"""What goes to the service and what comes back, as structs. Keys that a later service adds are passed
over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

Id = int | str


class Request(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One feed that is wanted. What is not said the service chooses: its first scene, ten items, the present.

    ``shown``: ids that this session has seen; ``time_ms``: since 1970; ``deadline_ms``: for the work of the
    service; ``explain``: the answer says why, and has its trace.
    """

    user: Id = field(name="user_id")
    scene: str | None = None
    k: int | None = None
    shown: Sequence[Id] = ()
    context: Mapping[str, float | str | bool] | None = None
    time_ms: int | None = None
    request_id: str = ""
    deadline_ms: float | None = None
    explain: bool = False


class Item(Struct, frozen=True):
    """One item of a feed; ``recalled_by``: the channels that found it."""

    position: int
    id: Id = field(name="item_id")
    score: float
    recalled_by: tuple[str, ...] = field(default=(), name="sources")
    columns: dict[str, Any] = {}
    why: str | None = field(default=None, name="reason")


class Feed(Struct, frozen=True):
    """An answer. ``degraded``: what was passed over or replaced; ``short``: why there are fewer items than
    were wanted; ``ms``: the time that the service took; ``trace``: its steps, where the request said
    ``explain``.
    """

    user: Id = field(name="user_id")
    scene: str
    items: tuple[Item, ...]
    request_id: str = ""
    degraded: tuple[str, ...] = ()
    cold_start: bool = field(default=False, name="is_cold_start")
    versions: dict[str, Any] = {}
    short: str | None = field(default=None, name="shortfall")
    ms: float = field(default=0.0, name="run_ms")
    trace: tuple[dict[str, Any], ...] | None = None


class Feeds(Struct, frozen=True):
    """The answer to several requests, in their order."""

    answers: tuple[Feed, ...] = field(name="pages")


class Recorded(Struct, frozen=True):
    """``events`` are in the log; ``refused`` {reason: how many} are not. ``waiting``: why the state store has
    not taken them yet; None: the next request knows them.
    """

    events: int
    refused: dict[str, int] = {}
    waiting: str | None = None


class Listed(Struct, frozen=True):
    """A list of ids that is ``n`` long; ``newest``: some of it, newest first."""

    n: int
    newest: tuple[Id, ...] = ()


class User(Struct, frozen=True):
    """What is known of a user. ``behind``: why the state store could not be read; None: it was, or there is
    none."""

    user: Id = field(name="user_id")
    known: bool = field(name="is_known")
    columns: dict[str, Any] = {}
    lists: dict[str, Listed] = {}
    behind: str | None = field(default=None, name="outdated")


class Work(Struct, frozen=True):
    """What is known of a work. ``model_version``: of its row in the index; ``offset``: what is added to its
    scores."""

    work: Id = field(name="item_id")
    columns: dict[str, Any] = {}
    in_index: bool = field(default=False, name="is_indexed")
    model_version: int | None = None
    blocked: bool = field(default=False, name="is_blocked")
    offset: float | None = None


class ProblemDetails(Struct, frozen=True):
    """The body of an answer that is an error (RFC 9457)."""

    title: str = ""
    detail: str = ""
    field: str | None = None
