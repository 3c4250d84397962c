"""Filter that drops items of followed creators."""

from __future__ import annotations

from karec.steps.filters.followed import Followed


class NotFollowed(Followed):
    """Drops what creators made whom the user follows already. O(N log follows)."""

    reason = "followed already"
    wanted = False
