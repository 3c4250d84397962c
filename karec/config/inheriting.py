"""What a scene takes from the scene that it inherits.

Tables merge by key, lists of steps by name: the key ``name`` of an entry, else its ``use`` without its
module.

    [scenes.live]
    inherits = "home"                               # all keys of home, but
    limits.prerank = 500                            #   limits one by one,
    limits.scored = false                           #   limits that it leaves out,
    recall.popular.quota = 5_000                    #   keys of an entry that it names,
    recall.social = false                           #   entries that it leaves out,
    recall.city = { use = "city", quota = 100 }     #   entries that it adds at the end,
    recall.on_air = { use = "mine.steps:OnAir", quota = 100, before = "popular" }     # or before another one,
    stages.prerank.steps.freshness = { use = "tone", column = "tone", at_least = 0.5 }     # another step in
                                                                                           # its place,
    exposure.explore = 2                            #   keys of exposure, each as a whole,
    side_effects = []                               #   and a whole list in place of the inherited one

``false`` leaves out whatever may be absent: limits, candidates, exposure and keys of it, entries of lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karec.errors import nearest
from karec.toml import Place, read_key, read_tables

LISTS = ("query", "recall", "stages", "side_effects")


def merged(parent: Mapping[str, Any], child: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The parent's table with the child's keys. ConfigError: a change of what is not inherited."""
    table = {**parent, **child}
    for key, what in (("limits", "limit"), ("exposure", "key")):
        if isinstance(child.get(key), dict) and isinstance(parent.get(key), dict):
            table[key] = _by_key(parent[key], child[key], what, place[key])
    for key in ("candidates", "exposure"):
        if child.get(key) is False and key in parent:
            del table[key]
    for key in LISTS:
        if isinstance(child.get(key), dict):
            table[key] = _by_name(parent.get(key, []), child[key], place[key])
    return table


def entry_name(entry: Mapping[str, Any], at: int) -> str:
    """``name``, else ``use`` without its module, else the position: a wrong entry is refused when it is
    built."""
    return str(entry.get("name", str(entry.get("use", at)).rsplit(":", 1)[-1]))


def replaces(entry: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    """Whether ``change`` puts another step in the place of ``entry``, whose keys are not the new step's."""
    return "use" in entry and change.get("use", entry["use"]) != entry["use"]


def _by_key(parent: Mapping[str, Any], changes: Mapping[str, Any], what: str, place: Place) -> dict[str, Any]:
    dropped = [name for name, change in changes.items() if change is False]
    for name in dropped:
        if name not in parent:
            at = place[name].called(place.keys)
            raise at.refusal(
                f"no {what} {name!r} is inherited{nearest(name, parent)}; there are {list(parent)}"
            )
    return {name: value for name, value in {**parent, **changes}.items() if name not in dropped}


def _by_name(parent: object, changes: Mapping[str, Any], place: Place) -> list[Mapping[str, Any]]:
    """The entries of ``parent`` changed by name: a table overrides keys or adds an entry, false leaves an
    entry out."""
    entries: dict[str, Mapping[str, Any]] = {
        entry_name(entry, i): entry for i, entry in enumerate(read_tables(parent, place))
    }
    if len(entries) < len(read_tables(parent, place)):
        raise place.refusal(
            "two entries of the inherited list have one name: give one of them another `name`"
        )
    for name, change in changes.items():
        adds = isinstance(change, dict) and ("use" in change or isinstance(change.get("steps"), list))
        if name not in entries and not adds:
            at = place[name].called(place.keys)
            raise at.refusal(
                f"no entry {name!r} is inherited{nearest(name, entries)}; there are {list(entries)}"
            )
        if change is False:
            del entries[name]
        elif not isinstance(change, dict):
            at = place[name].called(place.keys)
            raise at.refusal(f"{name} = {change!r}, expected a table of keys to override, or false")
        else:
            entries[name] = _changed(entries.get(name, {"name": name}), name, change, place[name])
            if "before" in change:
                before = str(read_key(change, "before", str, place[name]))
                entries = _moved(entries, name, before, place[name])
    return list(entries.values())


def _changed(
    entry: Mapping[str, Any], name: str, change: Mapping[str, Any], place: Place
) -> Mapping[str, Any]:
    own = {key: value for key, value in change.items() if key != "before"}
    changed = {"name": name, **own} if replaces(entry, own) else {**entry, **own}
    if isinstance(own.get("steps"), dict):
        changed["steps"] = _by_name(entry.get("steps", []), own["steps"], place["steps"])
    return changed


def _moved(entries: Mapping[str, Any], name: str, before: str, place: Place) -> dict[str, Mapping[str, Any]]:
    """``entries`` with ``name`` before the entry ``before``."""
    if before not in entries or before == name:
        others = [other for other in entries if other != name]
        raise place.refusal(
            f"before = {before!r}, expected another entry{nearest(before, others)}; there are {others}"
        )
    moved: dict[str, Mapping[str, Any]] = {}
    for other, entry in entries.items():
        if other == before:
            moved[name] = entries[name]
        if other != name:
            moved[other] = entry
    return moved
