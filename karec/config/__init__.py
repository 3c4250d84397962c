"""Builds cascades from a ``karec.toml``: reads and checks the file, builds its steps, opens its bundle."""

from karec.config.assemble import (
    load_cascade,
    load_cascades,
    open_bundle,
    scaled_recall,
    scene_names,
)
from karec.config.open import open_hot_swap

__all__ = [
    "load_cascade",
    "load_cascades",
    "open_bundle",
    "open_hot_swap",
    "scaled_recall",
    "scene_names",
]
