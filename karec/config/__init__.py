"""``karec.toml`` → scenes → a Cascade: TOML checks, the registry of steps, and what a bundle gives them."""

from karec.config.assemble import (
    Cascade,
    load_cascade,
    load_cascades,
    load_stage,
    open_bundle,
    scaled_recall,
    scene_names,
)
from karec.config.live import LiveCascade

__all__ = [
    "Cascade",
    "LiveCascade",
    "load_cascade",
    "load_cascades",
    "load_stage",
    "open_bundle",
    "scaled_recall",
    "scene_names",
]
