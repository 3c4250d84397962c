"""Screening's hard rules for one work, as it is uploaded: the reason that ``rules.py`` finds in SQL, in
Python."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.screening.rules import read_blocked
from karec.screening.settings import Condition, Rule, Settings, read_settings


class UploadRules:
    """The rules of a ``screen.toml`` but for the age, which no upload has yet. Lists of ids are read once.

    ConfigError and DataError as screening raises them.
    """

    def __init__(self, path: Path) -> None:
        self.settings: Settings = read_settings(path)
        texts = read_blocked(self.settings, {})
        self._listed = {reason: frozenset(map(str, blocked.values)) for reason, blocked in texts.items()}

    def broken_by(self, columns: Mapping[str, Any]) -> str:
        """The reason of the first rule that a work breaks, "" for none; a column that it lacks is missing."""
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
        if isinstance(value, str):  # no number: as good as missing
            return True
        too_little = rule.least is not None and value < rule.least
        return too_little or (rule.most is not None and value > rule.most)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _meets(condition: Condition, value: Any) -> bool:
    if condition.value is not None:
        return bool(value == condition.value and isinstance(value, bool) == isinstance(condition.value, bool))
    if isinstance(value, str):
        return False
    least, below = condition.least, condition.below
    return (least is None or value >= least) and (below is None or value < below)
