"""Filter that drops items of followed creators."""

from __future__ import annotations

from karec.steps.filters.followed import Followed


class NotFollowed(Followed):
    """Drops items of creators that the user follows, and items without a row."""

    reason = "followed already"
    keeps_followed = False
