"""What a data.toml may say of the cells of columns, beside what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

Bounds = tuple[int, int] | tuple[float, float] | tuple[date, date]


@dataclass(frozen=True)
class Check:
    """Each of ``columns`` holds what is said, which is then not guessed by its first rows: ``integer``,
    written without a point; ``whole`` numbers, also 9.0; ``number``; ``time``; ``text``, and no control
    character. It lies ``within`` two bounds, both included, or is one that the regular expression ``matches``
    (RE2) from its start to its end. A cell may be missing unless it is ``required``. A row with another cell
    cannot be used.
    """

    columns: tuple[str, ...]
    holds: Literal["integer", "whole", "number", "time", "text"]
    within: Bounds | None = None
    matches: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        if (self.matches is not None) and self.holds != "text":
            raise ValueError(f"matches is for texts, the columns hold {self.holds!r}")
        if self.within is not None and (
            self.holds == "text" or isinstance(self.within[0], date) != self._of_time
        ):
            raise ValueError(
                f"within = {self.within}: bounds are numbers, or dates for a time; a text has none"
            )
        if self.within is not None and not self.within[0] <= self.within[1]:  # type: ignore[operator]
            raise ValueError(f"within = {self.within}: the least stands first")

    @property
    def _of_time(self) -> bool:
        return self.holds == "time"


@dataclass(frozen=True)
class Log:
    """A number: log(1 + ``column`` / ``unit``); with ``over``, another column, log((1 + ``column``) / (1 +
    ``over``)). A cell that is missing counts as ``missing``; without that, the number is missing.
    """

    column: str
    unit: float = 1.0
    over: str | None = None
    missing: float | None = None

    def __post_init__(self) -> None:
        if not self.unit > 0 or (self.missing is not None and self.missing < 0):
            raise ValueError(f"unit > 0 and missing ≥ 0 are wanted, got {self}")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,) if self.over is None else (self.column, self.over)


def declared(checks: Sequence[Check]) -> Mapping[str, Check]:
    """{column: the first check that names it}."""
    return {name: check for check in reversed(checks) for name in check.columns}
