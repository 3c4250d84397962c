"""What karec demo prints of its report, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from karec.cli.simulate import loop_tables
from karec.cli.tables import (
    funnel_loss_table,
    funnel_table,
    reach_table,
    rounds_table,
    run_tables,
    scenes_table,
)
from karec.evaluate.top_tens import top_tens_sentence


def demo_told(report: Mapping[str, Any], notes: Sequence[str]) -> Iterator[Table | str]:
    """Tables and sentences in the order of the work; ``notes`` are what the data and the training say."""
    quality = {"models": report["quality"], "by_history": report["quality_by_history"]}
    yield funnel_table(report["funnel"], report["timings_ms"])
    yield funnel_loss_table(report["funnel_loss"])
    yield top_tens_sentence(report["top_tens"])
    yield from run_tables(quality, report["tasks"])
    for note in notes:
        yield f"note: {note}"
    yield "too few users for a second round" if report["rounds"] is None else rounds_table(report["rounds"])
    yield reach_table(report["reach"])
    if report["scenes"] is not None:
        yield scenes_table(report["scenes"])
    if report["loop"] is not None:
        yield from loop_tables(report["loop"])
