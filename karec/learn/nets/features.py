"""Which of the encoder's numbers a model sees: all of them, or only those that a refresh can wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from karec.features.encoder import Encoder

COUNTED = ("log_exposed", "log_skipped", "rate_", "past_")  # beginnings of names; past_: counts before records began


def seen_numbers(encoder: Encoder, name: str, towers: Literal["full", "static"]) -> list[int]:
    """The columns of ``user_numbers`` or ``item_numbers``: "static" leaves out counters and rates."""
    names = encoder.names[name]
    return [at for at, column in enumerate(names) if towers == "full" or not column.startswith(COUNTED)]


def id_columns(encoder: Encoder) -> Sequence[int]:
    """The columns of ``item_ids`` that name one work, creator or song, rather than say what it is."""
    return [at for at, name in enumerate(encoder.names["item_ids"]) if name == "id" or name.endswith("_id")]
