"""The scenes of a ``karec.toml``: their keys, what a scene inherits, and the limits that its steps name.

    bundle = "bundles"                              # the folder that holds `current`; relative to this file
    bundle_key = "publisher.pub.pem"                # optional: refuse bundles that the owner of this key did
                                                    # not sign
    threads = 4                                     # requests that run at once, of all scenes; absent: as
                                                    # many as cores
    live = { state = "state", events = "events" }   # optional: where what happens is kept; live_settings.py
    serve = { port = 8080, workers = 2 }            # optional: how karec serve answers; serve_settings.py

    [scenes.home]
    item_type = "work"                              # what it recommends; works by default
    query = [{ use = "user_features" }, { use = "user_tower" }]

    [scenes.home.limits]                            # how many works are left, by a name of your choice
    recall = 100_000                                # at most so many works leave recall; always needed
    scored = 2_000
    prerank = 1_000

    [[scenes.home.recall]]                          # one table a channel; quota = how many works it may bring
    use = "popular"
    quota = 30_000

    [[scenes.home.stages]]
    name = "prerank"
    steps = [{ use = "index_rows" }, { use = "inner_product", k = "scored" }, { use = "dpp", k = "prerank" }]

    [scenes.live]
    inherits = "home"                               # all keys of home, but those that it changes:
                                                    # inheriting.py

``k`` and ``quota`` of a step are a number or the name of a count. ``fallback`` of a stage is a list of
steps that run instead if the time is short; it contains the filters and rules of the stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karec.bundle.sealed_text import read_kind
from karec.config.inherit import LISTS, merge
from karec.config.live_settings import LiveSettings
from karec.config.serve_settings import SHOWN, ServeSettings
from karec.errors import ConfigError, nearest
from karec.toml import Place, check_keys, convert, read_key, read_tables, read_toml

TOP_KEYS = ("bundle", "bundle_key", "threads", "live", "serve", "scenes")
SCENE_KEYS = (
    *(
        "inherits",
        "item_type",
        "limits",
        "candidates",
        "query",
        "recall",
        "consumed",
        "show_again",
        "stages",
        "side_effects",
    ),
    "exposure",
)
COUNTED = ("k", "quota")  # the keys of a step that may name a count
MOST_WORKS = 2**31 - 1  # places in a list of works are int32
WORKS = "work"  # the kind of items that a scene recommends which does not say it
RECALL = "recall"  # the count that limits the merged candidates


@dataclass(frozen=True)
class Scene:
    """One scene with what it inherits; every count is a number. ``stages`` hold tables ``{name, steps}``.

    ``limit``: how many works leave recall at most; None where the scene does not say it. ``exposure``: what
    it wants of exposure; None where it wants nothing. ``consumed``: relations whose works never leave recall.
    ``item_type``: what it recommends; None: works. ``show_again``: works that a user was shown come again.
    """

    name: str
    place: Place
    limit: int | None
    query: Sequence[Mapping[str, Any]]
    recall: Sequence[Mapping[str, Any]]
    stages: Sequence[Mapping[str, Any]]
    side_effects: Sequence[Mapping[str, Any]]
    exposure: Mapping[str, Any] | None = None
    item_type: str | None = None
    consumed: Sequence[str] = ()
    show_again: bool = False

    def stage(self, name: str) -> tuple[Mapping[str, Any], Place]:
        """The table of the stage ``name`` and its place."""
        names = [table.get("name") for table in self.stages]
        if name not in names:
            raise self.place["stages"].refusal(
                f"no stage {name!r}{nearest(name, map(str, names))}; there are {names}"
            )
        at = names.index(name)
        return self.stages[at], self.place["stages"][at]


@dataclass(frozen=True)
class Config:
    """A ``karec.toml`` as read: ``table`` is the whole file, ``scenes`` its scenes as written, by name.

    ``scene`` gives one of them checked, with what it inherits and its limits as numbers.
    """

    path: Path
    scenes: Mapping[str, Any]
    table: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Config:
        """Raises ConfigError when the file is absent, no TOML, or something else than a ``karec.toml``."""
        kind = read_kind(path)
        if kind is not None:
            raise ConfigError(f"{path} is a file of kind {kind} for C++ hosts; a karec.toml belongs here")
        table = read_toml(path)
        check_keys(table, TOP_KEYS, Place(path))
        return cls.of_table(path, table)

    @classmethod
    def of_table(cls, path: Path, table: dict[str, Any]) -> Config:
        """The file's ``table``, whose other keys are not looked at."""
        place = Place(path)
        scenes = read_key(table, "scenes", dict, place)
        if not scenes:
            raise place.refusal("scenes is empty; a scene is a table [scenes.NAME]")
        return cls(path, scenes, table)

    @property
    def bundle(self) -> Path:
        """The folder that holds the bundles, or one bundle."""
        return self.path.parent / str(read_key(self.table, "bundle", str, Place(self.path)))

    @property
    def bundle_key(self) -> Path | None:
        """The PEM file of the public key that bundles must be signed for; None: any bundle is taken."""
        if "bundle_key" not in self.table:
            return None
        return self.path.parent / str(read_key(self.table, "bundle_key", str, Place(self.path)))

    @property
    def live(self) -> LiveSettings | None:
        """Where what happens is kept; None where the file does not say it."""
        if "live" not in self.table:
            return None
        return convert(LiveSettings, self.table["live"], Place(self.path)["live"])

    @property
    def serve(self) -> ServeSettings:
        """How ``karec serve`` answers; what the file does not say is as ``ServeSettings`` has it."""
        place = Place(self.path)["serve"]
        found = convert(ServeSettings, self.table.get("serve", {}), place)
        if found.exposure == SHOWN and "live" not in self.table:
            raise place["exposure"].refusal(
                f'exposure = "{SHOWN}" counts events: add [live] with state and events'
            )
        return found

    @property
    def threads(self) -> int | None:
        """How many requests run at once, of all scenes; None where the file does not say it."""
        if "threads" not in self.table:
            return None
        place = Place(self.path)
        threads = int(read_key(self.table, "threads", int, place))
        if threads <= 0:
            raise place.refusal(f"threads = {threads}, expected at least 1")
        return threads

    def scene(self, name: str) -> Scene:
        """The scene ``name``. Raises ConfigError naming the place of a mistake."""
        table, parents = self.inherited(name)
        place = self.place_of(name, parents)
        limits = limits_of(table, place)
        limit = limit_of(table, limits, place)
        used: set[str] = set()
        lists: dict[str, Any] = {key: _counted(table.get(key, []), limits, used, place[key]) for key in LISTS}
        own = self.scenes[name].get("limits", {})
        unused = [count for count in own if count in limits and count not in used | {RECALL}]
        if unused:
            raise place["limits"].refusal(
                f'no step names {unused[0]!r}: write k = "{unused[0]}" in the step it is for'
            )
        exposure = read_key(table, "exposure", Mapping[str, Any], place, None)
        consumed = read_key(table, "consumed", Sequence[str], place, [])
        item_type = read_key(table, "item_type", str, place, WORKS)
        own_type = None if item_type == WORKS else item_type
        again = read_key(table, "show_again", bool, place, False)
        lists |= {"exposure": exposure, "item_type": own_type, "consumed": consumed, "show_again": again}
        return Scene(name, place, limit, **lists)

    def place_of(self, name: str, parents: Sequence[str]) -> Place:
        """The scene's place, which names those that it inherits."""
        told = f" (inherits {', '.join(parents)})" if parents else ""
        return Place(self.path)["scenes"][name].called(f"scenes.{name}{told}")

    def inherited(self, name: str, children: tuple[str, ...] = ()) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The table of ``name`` over its parents' tables, and the parents, nearest first."""
        place = Place(self.path)
        if children:
            place = place["scenes"][children[-1]]["inherits"].called(f"scenes.{children[-1]}")
        if name not in self.scenes:
            raise place.refusal(
                f"no scene {name!r}{nearest(name, self.scenes)}; it has {sorted(self.scenes)}"
            )
        if name in children:
            raise place.refusal(
                f"inherits in a circle: {' → '.join((*children[children.index(name) :], name))}"
            )
        place = Place(self.path)["scenes"][name]
        table = self.scenes[name]
        if not isinstance(table, dict):
            raise place.refusal("must be a table")
        check_keys(table, SCENE_KEYS, place)
        if "inherits" not in table:
            return table, ()
        parent = read_key(table, "inherits", str, place)
        above, parents = self.inherited(parent, (*children, name))
        return merge(above, table, place), (parent, *parents)


def limits_of(table: Mapping[str, Any], place: Place) -> Mapping[str, int]:
    limits: Mapping[str, int] = read_key(table, "limits", Mapping[str, int], place, {})
    for name, count in limits.items():
        _check_count(f"limits.{name}", count, place)
    return limits


def _check_count(name: str, count: int, place: Place) -> None:
    if count <= 0:
        raise place.refusal(f"{name} = {count}, expected at least 1")
    if count > MOST_WORKS:
        raise place.refusal(f"{name} = {count}, expected at most {MOST_WORKS}")


def limit_of(table: Mapping[str, Any], limits: Mapping[str, int], place: Place) -> int | None:
    """How many works leave recall at most: ``limits.recall``, or the key ``candidates``."""
    if "candidates" in table and RECALL in limits:
        raise place.refusal(
            "candidates and limits.recall both say how many works leave recall; keep limits.recall"
        )
    if "candidates" in table:
        limit = int(read_key(table, "candidates", int, place))
        _check_count("candidates", limit, place)
        return limit
    return limits.get(RECALL)


def _counted(value: object, limits: Mapping[str, int], used: set[str], place: Place) -> list[dict[str, Any]]:
    """The entries with the names of limits replaced by numbers, in their steps too; adds the names to
    ``used``."""
    if isinstance(value, dict):
        raise place.refusal("must be a list of tables; a table overrides entries of an inherited list")
    return [counted_entry(table, limits, used, place[i]) for i, table in enumerate(read_tables(value, place))]


def counted_entry(
    table: Mapping[str, Any], limits: Mapping[str, int], used: set[str], place: Place
) -> dict[str, Any]:
    """One entry of ``_counted``."""
    entry = dict(table)
    for key in COUNTED:
        if isinstance(entry.get(key), str):
            used.add(table[key])
            entry[key] = _count(entry[key], key, limits, place)
        elif isinstance(entry.get(key), int) and not isinstance(entry[key], bool):
            _check_count(key, entry[key], place)
    for key in ("steps", "fallback"):
        if isinstance(entry.get(key), list):
            entry[key] = _counted(entry[key], limits, used, place[key])
    return entry


def _count(name: str, key: str, limits: Mapping[str, int], place: Place) -> int:
    if name not in limits:
        raise place.refusal(
            f"{key} = {name!r}, expected a whole number or the name of a limit{nearest(name, limits)}; "
            f"limits are {sorted(limits)}"
        )
    return limits[name]
