"""Sources: each one retrieves items for a request. `Merge` makes one list of their items."""

from collections.abc import Mapping

from karec.pipeline.step import Step
from karec.steps.sources.als import Als
from karec.steps.sources.city import City
from karec.steps.sources.community import Community
from karec.steps.sources.follow import Follow
from karec.steps.sources.fresh import Fresh
from karec.steps.sources.indicators import Indicators
from karec.steps.sources.item_to_item import ItemToItem
from karec.steps.sources.merge import Merge
from karec.steps.sources.model import Model
from karec.steps.sources.open_now import OpenNow
from karec.steps.sources.popular import Popular
from karec.steps.sources.profile import Profile
from karec.steps.sources.social import Social
from karec.steps.sources.underexposed import Underexposed

STEPS: Mapping[str, type[Step]] = {
    "als": Als,
    "city": City,
    "community": Community,
    "follow": Follow,
    "fresh": Fresh,
    "indicators": Indicators,
    "item_to_item": ItemToItem,
    "merge": Merge,
    "model": Model,
    "open_now": OpenNow,
    "popular": Popular,
    "profile": Profile,
    "social": Social,
    "underexposed": Underexposed,
}
