"""Query hydrators: each one adds features of the user to the request."""

from collections.abc import Mapping

from karec.pipeline.step import QueryHydrator
from karec.steps.query.user_features import UserFeatures
from karec.steps.query.user_tower import UserTower

STEPS: Mapping[str, type[QueryHydrator]] = {"user_features": UserFeatures, "user_tower": UserTower}
