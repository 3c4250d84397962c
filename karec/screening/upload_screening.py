"""Screening of one upload: the rules and the quality of ``screen.toml``.

The reasons equal those of a whole day (``rules.py`` in SQL, ``day.py``). An upload is not compared with
others: that needs the vectors of a day in every process. The screening of its day does it, and
``library_version.py`` deletes the works that it rejects.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.screening.quality import make_scorer
from karec.screening.rules import read_block_lists
from karec.screening.settings import (
    LOW_QUALITY,
    NO_QUALITY,
    Condition,
    Rule,
    ScreeningSettings,
    read_settings,
)


class UploadScreening:
    """Rules of a ``screen.toml`` except the age, which an upload has not yet, then its quality.

    Block lists and the model are read once. Raises ConfigError and DataError like screening.
    """

    def __init__(self, path: Path) -> None:
        self.settings: ScreeningSettings = read_settings(path)
        block_lists = read_block_lists(self.settings, {})
        self._listed = {
            reason: frozenset(map(str, block_list.values)) for reason, block_list in block_lists.items()
        }
        self._scorer = make_scorer(self.settings)

    def rejection_reason(self, columns: Mapping[str, Any]) -> str:
        """Returns the first reason to reject an upload, or ""."""
        for rule in self.settings.rules:
            if rule.column is None:
                continue
            if rule.where is not None:
                if _is_missing(columns.get(rule.where.column)):
                    return f"{rule.reason}: {rule.where.column} is missing"
                if not _meets(rule.where, columns[rule.where.column]):
                    continue
            value = columns.get(rule.column)
            if _is_missing(value):
                return f"{rule.reason}: {rule.column} is missing"
            if self._breaks(rule, value):
                return rule.reason
        return self._quality_reason(columns)

    def _quality_reason(self, columns: Mapping[str, Any]) -> str:
        import pyarrow as pa

        batch = pa.record_batch({name: [_to_float(columns.get(name))] for name in self._scorer.columns})
        quality = float(self._scorer.score(batch)[0])
        if not math.isfinite(quality):
            return NO_QUALITY
        min_quality = self.settings.quality.min
        return LOW_QUALITY if min_quality is not None and quality < min_quality else ""

    def _breaks(self, rule: Rule, value: Any) -> bool:
        if rule.not_in is not None:
            return str(value) in self._listed[rule.reason]
        if isinstance(value, str | list):  # not a number, so treated as missing
            return True
        is_too_small = rule.min is not None and value < rule.min
        return is_too_small or (rule.max is not None and value > rule.max)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _to_float(value: Any) -> float:
    """Returns a number; NaN for other values and for an integer of JSON that is too large for a float."""
    is_number = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return float(value) if is_number else math.nan


def _meets(condition: Condition, value: Any) -> bool:
    if condition.value is not None:
        return bool(value == condition.value and isinstance(value, bool) == isinstance(condition.value, bool))
    if isinstance(value, str | list):
        return False
    lower, below = condition.min, condition.below
    return (lower is None or value >= lower) and (below is None or value < below)
