"""Filters: each one drops candidates."""

from collections.abc import Mapping

from karec.pipeline.step import Filter
from karec.steps.filters.followed import Followed
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.filters.is_open import IsOpen
from karec.steps.filters.not_consumed import NotConsumed
from karec.steps.filters.not_followed import NotFollowed
from karec.steps.filters.not_own import NotOwn
from karec.steps.filters.not_seen import NotSeen
from karec.steps.filters.not_shown import NotShown
from karec.steps.filters.quota import Quota
from karec.steps.filters.same_as_user import SameAsUser
from karec.steps.filters.tone import Tone
from karec.steps.filters.visible import Visible

STEPS: Mapping[str, type[Filter]] = {
    "followed": Followed,
    "has_embedding": HasEmbedding,
    "is_open": IsOpen,
    "not_consumed": NotConsumed,
    "not_followed": NotFollowed,
    "not_own": NotOwn,
    "not_seen": NotSeen,
    "not_shown": NotShown,
    "quota": Quota,
    "same_as_user": SameAsUser,
    "tone": Tone,
    "visible": Visible,
}
