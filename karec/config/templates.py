"""Texts of new scenes from `templates/NAME.toml`: home for a new project, and scenes that are added to it.

Numbers are those of the template, for a library of 100,000 works or more. A smaller one gets smaller numbers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from importlib.resources import files

from karec.catalog.schema import CREATOR, ERA, PUBLISHED, SONG, TAG
from karec.catalog.snapshot import Snapshot
from karec.errors import ConfigError, nearest
from karec.toml import toml_key

HOME = "home"
OTHERS = ("following", "city", "live", "song_request", "room", "comment", "comment_users", "creators")
# On positives only, the towers know more than the ranker.
BY_TOWERS = '"inner_product", k = "rank" },           # for positives, the towers are ahead of the ranker'


def template_text(name: str) -> str:
    return files("karec.config").joinpath(f"templates/{name}.toml").read_text(encoding="utf-8")


def added_scene_text(name: str, main: str, item_types: Mapping[str, Collection[str]]) -> str:
    """Returns the TOML of the scene `name` for a file whose scene `main` is the one of home.toml.

    Steps that read a missing column are left out.

    Args:
        item_types: {item type of the bundle: its columns}.
    Raises:
        ConfigError: there is no such template, or the bundle lacks its item type.
    """
    if name not in OTHERS:
        raise ConfigError(
            f"no template of a scene {name!r}{nearest(name, OTHERS)}; there are {[HOME, *OTHERS]}"
        )
    text = template_text(name)
    item_type = tomllib.loads(text)["scenes"][name].get("item_type")
    if item_type is None:
        return text.replace(f'inherits = "{HOME}"', f'inherits = "{main}"')
    if item_type not in item_types:
        raise ConfigError(
            f"the scene {name} recommends items of the type {item_type!r}, and the bundle has only "
            f"{sorted(item_types)}: publish it with karec.publish(…, item_types=…)"
        )
    return _without_columns(text, _columns(text) - set(item_types[item_type]))


def home_scene_text(
    scene: str, snapshot: Snapshot, objectives: Mapping[str, float], *, is_ranked_by_towers: bool = False
) -> str:
    """Returns the text of a karec.toml with one scene, sized for the works of `snapshot`.

    Sources and steps that read a column or relation that `snapshot` lacks are left out.

    Args:
        objectives: {task: weight in the fused score}.
        is_ranked_by_towers: rank orders by the inner product of the towers. On positives only it is ahead of
            the ranker (docs/results.md). Logits are logged as before.
    """
    text = template_text(HOME)
    home = tomllib.loads(text)["scenes"][HOME]
    limits = _sized_limits(home["limits"], len(snapshot.works))
    for name, limit in limits.items():
        text = _replace(rf"(?m)^({name} = )[\d_]+", f"{limit:_}", text)
    for source, quota in sized_quotas(limits["recall"]).items():
        text = _replace(rf'(use = "{source}"\nquota = )[\d_]+', f"{quota:_}", text)
    weights = ", ".join(f"{toml_key(task)} = {weight}" for task, weight in objectives.items())
    text = _replace(r'(use = "fusion", weights = )\{[^}]*\}', f"{{ {weights} }}", text)
    if is_ranked_by_towers:
        text = _replace(r'(?m)^( +\{ use = )"top_k", k = "rank" \},$', BY_TOWERS, text)
        text = _replace(r'(?m)^(fallback = \[\{ use = )"top_k"(?=, k = "rank" \}\])', '"inner_product"', text)
    return _without_missing(text, snapshot).replace("[scenes.home", f"[scenes.{toml_key(scene)}")


def sized_quotas(recall: int) -> dict[str, int]:
    """Returns {source: quota} of home.toml for `recall` candidates, in the proportions of the template."""
    home = tomllib.loads(template_text(HOME))["scenes"][HOME]
    limit = home["limits"]["recall"]
    return {source["use"]: max(recall * source["quota"] // limit, 1) for source in home["recall"]}


def _sized_limits(template: Mapping[str, int], n_works: int) -> dict[str, int]:
    """Returns the limits of the template, at most: a fifth of the stage before, but not below the next ones.

    A tenth of a small library is not enough to choose from, so prerank keeps up to 100 and rank up to 30.
    """
    recall = min(template["recall"], n_works)
    prerank = min(template["prerank"], max(recall // 5, min(recall, template["rank"])))
    rank = min(template["rank"], max(prerank // 5, min(prerank, template["rerank"])))
    scored = min(prerank * template["scored"] // template["prerank"], recall)
    rerank = min(template["rerank"], rank)
    return {"recall": recall, "scored": scored, "prerank": prerank, "rank": rank, "rerank": rerank}


def _without_missing(text: str, snapshot: Snapshot) -> str:
    """Removes sources and steps that read a column, role or relation that `snapshot` lacks."""
    columns, relations = snapshot.works.columns, snapshot.relations
    is_possible = {
        "profile": any(role in columns for role in (SONG, CREATOR, TAG, ERA)),
        "follow": CREATOR in columns and "follows" in relations,
        "social": "friends" in relations or "family" in snapshot.users.columns,
        "fresh": PUBLISHED in columns,
    }
    for source in (name for name, possible in is_possible.items() if not possible):
        text = _replace(rf'(?s)()\[\[scenes\.home\.recall\]\][^\n]*\nuse = "{source}"\n.*?\n\n', "", text)
    if PUBLISHED not in columns:
        text = re.sub(r'(?m)^ *\{ use = "freshness".*\n', "", text)
    if TAG not in columns:
        text = _replace(r"(), similarity = \{ facets = \{ tag = [\d.]+ \} \}", "", text)
    text = _without_columns(text, _columns(text) - set(columns))
    text, n_rule_steps = re.subn(r'(?m)^ *\{ use = "page_rules", rules = \[\n *\] \},\n', "", text)
    if n_rule_steps:  # DPP is the last step then and selects as many items as the request asks for
        text = _replace(r'()k = "rerank", ', "", _replace(r"(?m)()^rerank = .*\n", "", text))
    return text


def _columns(text: str) -> set[str]:
    return set(re.findall(r'column = "(\w+)"', text))


def _without_columns(text: str, columns: Collection[str]) -> str:
    for column in columns:
        text = re.sub(rf'(?m)^ *\{{[^\n{{]*column = "{column}".*\n', "", text)
    return text


def _replace(pattern: str, value: str, text: str) -> str:
    """Replaces what follows the group of `pattern`, which the template contains once."""
    replaced, n = re.subn(pattern, lambda match: match.group(1) + value, text)
    assert n == 1, f"the template has {pattern} {n} times"
    return replaced
