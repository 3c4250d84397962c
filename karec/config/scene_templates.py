"""The scenes that come with karec beside home: ``templates/NAME.toml``, each with its own kind of items and
rules."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from importlib.resources import files

from karec.errors import ConfigError, nearest

HOME = "home"
OTHERS = ("following", "city", "live", "song_request", "room", "comment", "comment_users", "creators")


def scene_text(name: str, main: str, kinds: Mapping[str, Collection[str]]) -> str:
    """The TOML of the scene ``name``, for a config whose scene ``main`` is the one that ``home.toml``
    describes.

    ``kinds``: {kind of items: its columns} of the bundle. A step that reads a column which the kind lacks is
    left out. ConfigError: no such template, or the bundle lacks its kind.
    """
    if name not in OTHERS:
        raise ConfigError(
            f"no template of a scene {name!r}{nearest(name, OTHERS)}; there are {[HOME, *OTHERS]}"
        )
    text = files("karec.config").joinpath(f"templates/{name}.toml").read_text(encoding="utf-8")
    kind = tomllib.loads(text)["scenes"][name].get("item_type")
    if kind is None:
        return text.replace(f'inherits = "{HOME}"', f'inherits = "{main}"')
    if kind not in kinds:
        raise ConfigError(
            f"the scene {name} recommends items of the kind {kind!r}, and the bundle has only "
            f"{sorted(kinds)}: publish it with publish_bundle(…, kinds=…)"
        )
    for column in set(re.findall(r'column = "(\w+)"', text)) - set(kinds[kind]):
        text = re.sub(rf'(?m)^ *\{{[^\n{{]*column = "{column}".*\n', "", text)
    return text
