"""Milliseconds in an hour and a day, and the signature of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``: called from time to time by long work, for whoever shows it."""
