"""Which of the encoder's columns a model sees, or hides while training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from karec.features.encoder import Encoder

# prefixes of names; past_: counts from before the log
COUNTED = ("log_exposed", "log_skipped", "rate_", "past_")


def seen_numbers(encoder: Encoder, name: str, towers: Literal["full", "static"]) -> list[int]:
    """The columns of ``user_numbers`` or ``item_numbers`` that towers see: "static" ones see no counters and
    rates."""
    names = encoder.names[name]
    return [at for at, column in enumerate(names) if towers == "full" or not column.startswith(COUNTED)]


def id_columns(encoder: Encoder) -> Sequence[int]:
    """The columns of ``item_ids`` that identify one work, creator or song, not a category such as type or
    tag."""
    return [at for at, name in enumerate(encoder.names["item_ids"]) if name == "id" or name.endswith("_id")]
