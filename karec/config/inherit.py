"""Merges the table of a scene over the table of the scene that it inherits.

Tables merge by key. Lists of steps merge by name: the key `name` of an entry, else its `use` without the
module.

    [scenes.live]
    inherits = "home"                               # all keys of home, but
    limits.prerank = 500                            #   changed limits, one by one,
    limits.scored = false                           #   removed limits,
    recall.popular.quota = 5_000                    #   changed keys of a named entry,
    recall.social = false                           #   removed entries,
    recall.city = { use = "city", quota = 100 }     #   entries added at the end,
    recall.on_air = { use = "mine.steps:OnAir", quota = 100, before = "popular" }     # or before another one,
    stages.prerank.steps.freshness = { use = "tone", column = "tone", at_least = 0.5 }     # another step in
                                                                                           # its place,
    exposure.explore = 2                            #   keys of exposure and mix, each as a whole,
    side_effects = []                               #   and a whole list in place of the inherited one

`false` removes what may be absent: limits, exposure, mix and their keys, entries of lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karec.errors import nearest
from karec.toml import Place, read_key, read_tables

LISTS = ("query", "recall", "stages", "side_effects")


def merge(parent: Mapping[str, Any], child: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Returns the keys of `parent` changed by `child`. Raises ConfigError for a change of a missing entry."""
    table = {**parent, **child}
    for key, noun in (("limits", "limit"), ("exposure", "key"), ("mix", "key")):
        if isinstance(child.get(key), dict) and isinstance(parent.get(key), dict):
            table[key] = _by_key(parent[key], child[key], noun, place[key])
    for key in ("exposure", "mix"):
        if child.get(key) is False and key in parent:
            del table[key]
    for key in LISTS:
        if isinstance(child.get(key), dict):
            table[key] = _by_name(parent.get(key, []), child[key], place[key])
    return table


def entry_name(entry: Mapping[str, Any], position: int) -> str:
    """Returns `name`, else `use` without its module, else the position."""
    return str(entry.get("name", str(entry.get("use", position)).rsplit(":", 1)[-1]))


def _by_key(parent: Mapping[str, Any], changes: Mapping[str, Any], noun: str, place: Place) -> dict[str, Any]:
    removed = [name for name, change in changes.items() if change is False]
    for name in removed:
        if name not in parent:
            entry_place = place[name].with_keys(place.keys)
            raise entry_place.refusal(
                f"no {noun} {name!r} is inherited{nearest(name, parent)}; there are {list(parent)}"
            )
    return {name: value for name, value in {**parent, **changes}.items() if name not in removed}


def _by_name(parent: object, changes: Mapping[str, Any], place: Place) -> list[Mapping[str, Any]]:
    """Returns the entries of `parent` changed by name. A table changes keys or adds an entry, false removes
    one."""
    inherited = read_tables(parent, place)
    entries: dict[str, Mapping[str, Any]] = {entry_name(entry, i): entry for i, entry in enumerate(inherited)}
    if len(entries) < len(inherited):
        raise place.refusal("two entries of the inherited list have the same name. Give one another `name`.")
    for name, change in changes.items():
        is_new = isinstance(change, dict) and ("use" in change or isinstance(change.get("steps"), list))
        if name not in entries and not is_new:
            entry_place = place[name].with_keys(place.keys)
            raise entry_place.refusal(
                f"no entry {name!r} is inherited{nearest(name, entries)}; there are {list(entries)}"
            )
        if change is False:
            del entries[name]
        elif not isinstance(change, dict):
            entry_place = place[name].with_keys(place.keys)
            raise entry_place.refusal(f"{name} = {change!r}, expected a table of keys to override, or false")
        else:
            entries[name] = _change(entries.get(name, {"name": name}), name, change, place[name])
            if "before" in change:
                before = str(read_key(change, "before", str, place[name]))
                entries = _move(entries, name, before, place[name])
    return list(entries.values())


def _change(
    entry: Mapping[str, Any], name: str, change: Mapping[str, Any], place: Place
) -> Mapping[str, Any]:
    own = {key: value for key, value in change.items() if key != "before"}
    # Another step has none of the keys of the old one.
    is_other_step = "use" in entry and own.get("use", entry["use"]) != entry["use"]
    changed = {"name": name, **own} if is_other_step else {**entry, **own}
    if isinstance(own.get("steps"), dict):
        changed["steps"] = _by_name(entry.get("steps", []), own["steps"], place["steps"])
    return changed


def _move(entries: Mapping[str, Any], name: str, before: str, place: Place) -> dict[str, Mapping[str, Any]]:
    """Returns `entries` with the entry `name` before the entry `before`."""
    others = [other for other in entries if other != name]
    if before not in others:
        raise place.refusal(
            f"before = {before!r}, expected another entry{nearest(before, others)}; there are {others}"
        )
    position = others.index(before)
    order = [*others[:position], name, *others[position:]]
    return {key: entries[key] for key in order}
