"""The keys of a karec.toml and its scenes, with what a scene inherits and the limits that its steps name.

    bundle = "bundles"                              # the folder that holds `current`, relative to this file,
                                                    # or a URL: s3://bucket/path, gs://…, file://…
    bundle_cache = "bundle-cache"                   # optional: the folder for versions of a URL
    bundle_key = "publisher.pub.pem"                # optional: refuse bundles that the owner of this key did
                                                    # not sign
    threads = 4                                     # requests that run at once, of all scenes; absent: as
                                                    # many as cores
    online = { url = "sqlite:online.db" }           # optional: the online store; online_settings.py
    serve = { port = 8080, workers = 2 }            # optional: karec serve; serve_settings.py
    experiments = "experiments.toml"                # optional: karec/experiments/settings.py

    [scenes.home]
    item_type = "work"                              # of the recommended items; default: work
    query = [{ use = "user_features" }, { use = "user_tower" }]

    [scenes.home.limits]                            # most items that are left, by a name of your choice
    recall = 100_000                                # of the merged candidates; absent: the sum of the quotas
    scored = 2_000
    prerank = 1_000

    [[scenes.home.recall]]                          # one table per source; quota: its most items
    use = "popular"
    quota = 30_000

    [[scenes.home.stages]]
    name = "prerank"
    steps = [{ use = "index_rows" }, { use = "inner_product", k = "scored" }, { use = "dpp", k = "prerank" }]

    [scenes.live]
    inherits = "home"                               # all keys of home, but those that it changes:
                                                    # inherit.py

`k` and `quota` of a step are a number or the name of a limit. `fallback` of a stage is a list of
steps that run instead if the time is short; it contains the filters and rules of the stage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import UNSET, Meta, structs

from karec.bundle.remote import follow, local_folder
from karec.config.inherit import LISTS, merge
from karec.config.online_settings import OnlineSettings
from karec.config.serve_settings import ServeSettings
from karec.errors import ConfigError, nearest
from karec.object_store import is_url
from karec.toml import Count, Place, Settings, check_keys, convert, mistakes, read_key, read_tables, read_toml

MAX_ITEMS = 2**31 - 1  # positions in a list of items are int32
Limit = Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
COUNT_KEYS = ("k", "min_items", "quota")  # keys of a step that may name a limit
WORKS = "work"  # the item type of a scene without the key
RECALL = "recall"  # the limit of the merged candidates


class SceneTable(Settings, frozen=True):
    """The keys of a scene. `check` and `show` report the mistakes in its lists."""

    inherits: str | None = None
    item_type: str = WORKS
    limits: Mapping[str, Limit] = {}
    query: Any = None
    recall: Any = None
    consumed: tuple[str, ...] = ()
    show_again: bool | Annotated[float, Meta(gt=0)] = False
    stages: Any = None
    side_effects: Any = None
    exposure: Mapping[str, Any] | None = None
    mix: Mapping[str, Any] | None = None


class FileTable(Settings, frozen=True):
    """The keys of a karec.toml."""

    bundle: str
    scenes: Mapping[str, Any]
    bundle_key: str | None = None
    bundle_cache: str = "bundle-cache"
    threads: Count | None = None
    online: OnlineSettings | None = None
    serve: ServeSettings = ServeSettings()
    experiments: str | None = None


@dataclass(frozen=True)
class Scene:
    """One scene with what it inherits; limits are numbers.

    limit       most items that leave recall; the sum of the quotas if the scene does not set it
    stages      tables {name, steps, fallback}
    exposure    the table of exposure control; None without it
    item_type   None: works
    consumed    relations of the user whose items never leave recall
    show_again  True: items that the user was shown may appear again; a number: after this many hours
    mix         the table of other item types on its pages; None without it
    """

    name: str
    place: Place
    limit: int
    query: Sequence[Mapping[str, Any]]
    recall: Sequence[Mapping[str, Any]]
    stages: Sequence[Mapping[str, Any]]
    side_effects: Sequence[Mapping[str, Any]]
    exposure: Mapping[str, Any] | None = None
    item_type: str | None = None
    consumed: Sequence[str] = ()
    show_again: bool | float = False
    mix: Mapping[str, Any] | None = None

    @property
    def version(self) -> str:
        """The first 12 hex digits of the SHA-256 of all values; comments and formatting do not change it."""
        values = {key: value for key, value in vars(self).items() if key != "place"}
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def stage(self, name: str) -> tuple[Mapping[str, Any], Place]:
        """Returns the table of the stage `name` and its place."""
        names = [table.get("name") for table in self.stages]
        if name not in names:
            raise self.place["stages"].refusal(
                f"no stage {name!r}{nearest(name, map(str, names))}; there are {names}"
            )
        position = names.index(name)
        return self.stages[position], self.place["stages"][position]


@dataclass(frozen=True)
class Config:
    """A karec.toml: `table` is the whole file, `scenes` its scenes as written, by name."""

    path: Path
    scenes: Mapping[str, Any]
    table: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Config:
        """Raises ConfigError if the file cannot be read, is not TOML, or is not a karec.toml."""
        if path.suffix == ".json":
            raise ConfigError(
                f"{path} is a JSON file, as karec export stage writes for C++ hosts; expected a karec.toml"
            )
        table = read_toml(path)
        check_keys(table, FileTable.__struct_fields__, Place(path))
        return cls.from_table(path, table)

    @classmethod
    def from_table(cls, path: Path, table: dict[str, Any]) -> Config:
        """Returns the config of a whole `table` without checking its other keys."""
        place = Place(path)
        scenes = read_key(table, "scenes", dict, place)
        if not scenes:
            raise place.refusal("scenes is empty; a scene is a table [scenes.NAME]")
        return cls(path, scenes, table)

    def _read(self, key: str, default: Any = None) -> Any:
        hints = {field.name: field.type for field in structs.fields(FileTable)}
        return read_key(self.table, key, hints[key], Place(self.path), default)

    @property
    def bundle(self) -> Path:
        """The folder that holds the bundles, or one bundle. Of a URL: the local folder of its versions."""
        bundle = str(self._read("bundle", UNSET))
        if not is_url(bundle):
            return self.path.parent / bundle
        cache = str(self._read("bundle_cache", "bundle-cache"))
        try:
            return local_folder(bundle, self.path.parent / cache)
        except ValueError as error:
            raise Place(self.path)["bundle"].refusal(str(error)) from error

    @property
    def has_bundle_url(self) -> bool:
        return is_url(str(self._read("bundle", UNSET)))

    def follow_bundle(self) -> Path:
        """Returns `bundle` after the current version of a URL was pulled (`karec.bundle.remote.follow`)."""
        if self.has_bundle_url:
            follow(str(self._read("bundle", UNSET)), self.bundle, self.bundle_key)
        return self.bundle

    @property
    def bundle_key(self) -> Path | None:
        """The PEM file of the public key of the signer; None: any bundle is accepted."""
        key = self._read("bundle_key")
        return None if key is None else self.path.parent / str(key)

    @property
    def experiments(self) -> Path | None:
        """The experiments.toml; None without the key."""
        experiments = self._read("experiments")
        return None if experiments is None else self.path.parent / str(experiments)

    @property
    def online(self) -> OnlineSettings | None:
        """The settings of the online store; None without the table."""
        if "online" not in self.table:
            return None
        return convert(OnlineSettings, self.table["online"], Place(self.path)["online"])

    def open_minutes_mistakes(self, item_types: Sequence[str]) -> list[ConfigError]:
        """Returns the mistake of each key of online.open_minutes that is not one of the bundle's types."""
        place = Place(self.path)["online"]["open_minutes"]
        return [
            place[name].refusal(
                f"the bundle has no items of this type{nearest(name, item_types)}; it has {[*item_types]}"
            )
            for name in ({} if self.online is None else self.online.open_minutes)
            if name not in item_types
        ]

    @property
    def serve(self) -> ServeSettings:
        """The settings of `karec serve`; defaults without the table."""
        place = Place(self.path)["serve"]
        return convert(ServeSettings, self.table.get("serve", {}), place)

    @property
    def threads(self) -> int | None:
        """The number of requests that run at once, of all scenes; None: as many as cores."""
        threads: int | None = self._read("threads")
        return threads

    def scene(self, name: str) -> Scene:
        """Returns the scene `name`. Raises ConfigError for its first mistake."""
        errors: list[ConfigError] = []
        scene = self.read_scene(name, errors)
        if errors:
            raise errors[0]
        return scene

    def read_scene(self, name: str, errors: list[ConfigError]) -> Scene:
        """Returns the scene `name` and adds its mistakes to `errors`; a wrong number is 1 then.

        Raises ConfigError for a mistake of the inheritance.
        """
        table, parents = self.inherited(name)
        place = self.place_of(name, parents)
        depth = len(place.path)
        table_errors = mistakes(SceneTable, table, place)
        errors += table_errors
        wrong_keys = {error.path[depth] for error in table_errors if len(error.path) > depth}
        values = {key: value for key, value in table.items() if key not in wrong_keys}
        raw_limits = table.get("limits", {})
        raw_limits = raw_limits if isinstance(raw_limits, dict) else {}
        limits = {key: value if _is_limit(value) else 1 for key, value in raw_limits.items()}
        used_names = {key for key, value in raw_limits.items() if not _is_limit(value)}  # reported already
        lists: dict[str, Any] = {
            key: _replace_names(table.get(key, []), limits, used_names, place[key], errors) for key in LISTS
        }
        own_limits = self.scenes[name].get("limits", {}) if parents else {}
        for key in own_limits if isinstance(own_limits, dict) else ():
            if key in limits and key not in used_names | {RECALL}:  # a change without effect
                message = f'no step names it: write k = "{key}" in the step it is for, or remove it'
                errors.append(place["limits"][key].refusal(message))
        quotas = [source["quota"] for source in lists["recall"] if _is_limit(source.get("quota"))]
        item_type = values.get("item_type", WORKS)
        return Scene(
            name,
            place,
            limits.get(RECALL, min(max(sum(quotas), 1), MAX_ITEMS)),
            **lists,
            exposure=values.get("exposure"),
            item_type=None if item_type == WORKS else item_type,
            consumed=values.get("consumed", ()),
            show_again=values.get("show_again", False),
            mix=values.get("mix"),
        )

    def place_of(self, name: str, parents: Sequence[str]) -> Place:
        """Returns the place of a scene; its text names the inherited scenes."""
        suffix = f" (inherits {', '.join(parents)})" if parents else ""
        return Place(self.path)["scenes"][name].with_keys(f"scenes.{name}{suffix}")

    def inherited(self, name: str, children: tuple[str, ...] = ()) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Returns the table of `name` merged over its parents, and the parents, nearest first."""
        place = Place(self.path)
        if children:
            place = place["scenes"][children[-1]]["inherits"].with_keys(f"scenes.{children[-1]}")
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
        if "inherits" not in table:
            return table, ()
        parent = read_key(table, "inherits", str, place)
        parent_table, parents = self.inherited(parent, (*children, name))
        return merge(parent_table, table, place), (parent, *parents)


def _is_limit(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ITEMS


def _replace_names(
    value: object, limits: Mapping[str, int], used_names: set[str], place: Place, errors: list[ConfigError]
) -> list[dict[str, Any]]:
    """Returns the tables of a list with limits in place of their names, also in lists of steps.

    Adds the names to `named`.
    """
    if isinstance(value, dict):
        errors.append(
            place.refusal("must be a list of tables; a table overrides entries of an inherited list")
        )
        return []
    try:
        tables = read_tables(value, place)
    except ConfigError as error:
        errors.append(error)
        return []
    entries = []
    for i, table in enumerate(tables):
        entry = dict(table)
        for key in (key for key in COUNT_KEYS if key in table):
            entry[key] = _limit(table[key], key, limits, place[i], errors)
            used_names.add(str(table[key]))
        for key in ("steps", "fallback"):
            if isinstance(entry.get(key), list):
                entry[key] = _replace_names(entry[key], limits, used_names, place[i][key], errors)
        entries.append(entry)
    return entries


def _limit(
    value: object, key: str, limits: Mapping[str, int], place: Place, errors: list[ConfigError]
) -> object:
    """Returns the number of the limit `value`; 1 if it is reported as wrong here."""
    if isinstance(value, str):
        if value in limits:
            return limits[value]
        message = f"expected a whole number or the name of a limit{nearest(value, limits)}; "
        message += f"limits are {sorted(limits)}"
    elif key == "min_items" or not isinstance(value, int) or isinstance(value, bool) or _is_limit(value):
        return value  # the settings of the step report another type, and a wrong min_items
    else:
        message = f"expected 1 to {MAX_ITEMS}"
    errors.append(place.refusal(f"{key} = {value!r}, {message}", key))
    return 1
