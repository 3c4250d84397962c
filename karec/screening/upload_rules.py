"""Screening's rules for one upload in Python; the reasons equal those of ``rules.py`` in SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.screening.rules import read_block_lists
from karec.screening.settings import Condition, Rule, ScreeningSettings, read_settings


class UploadRules:
    """Rules of a ``screen.toml`` except the age, which an upload has not yet. Block lists are read once.

    Raises ConfigError and DataError like screening.
    """

    def __init__(self, path: Path) -> None:
        self.settings: ScreeningSettings = read_settings(path)
        block_lists = read_block_lists(self.settings, {})
        self._listed = {
            reason: frozenset(map(str, block_list.values)) for reason, block_list in block_lists.items()
        }

    def find_broken_rule(self, columns: Mapping[str, Any]) -> str:
        """Returns the reason of the first rule that a work breaks, or ""."""
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
        return ""

    def _breaks(self, rule: Rule, value: Any) -> bool:
        if rule.not_in is not None:
            return str(value) in self._listed[rule.reason]
        if isinstance(value, str):  # not a number, so treated as missing
            return True
        is_too_small = rule.min is not None and value < rule.min
        return is_too_small or (rule.max is not None and value > rule.max)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _meets(condition: Condition, value: Any) -> bool:
    if condition.value is not None:
        return bool(value == condition.value and isinstance(value, bool) == isinstance(condition.value, bool))
    if isinstance(value, str):
        return False
    lower, below = condition.min, condition.below
    return (lower is None or value >= lower) and (below is None or value < below)
