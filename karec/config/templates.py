"""Texts of new scenes from `templates/NAME.toml`: home or plain for a new project, and scenes that are added.

home.toml is for items of creators: it spreads exposure among them. plain.toml is for items without creators,
for example of a shop: the page is the ranker's top k. Numbers are those of the template, for a library of
100,000 works or more. A smaller one gets smaller numbers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from karec.catalog.schema import COMMUNITY, CREATOR, FAMILY, PUBLISHED, TAG, TONE, counter
from karec.catalog.snapshot import Snapshot
from karec.errors import ConfigError, nearest
from karec.toml import toml_key

HOME, PLAIN = "home", "plain"
OTHERS = ("following", "city", "live", "song_request", "room", "comment", "comment_users", "creators")
BY_TOWERS = '"inner_product", k = "rank", only_warm = true }'
FIRST_CUT = (  # of prerank
    r'(?m)^( +\{ use = )"inner_product", k = ("\w+")(?:, at_most = \{ (\w+) = (\d+) \}.*?)?( \},\n)'
)
BY_ALS = '    { use = "als_score" },\n'


def template_text(name: str) -> str:
    return files("karec.config").joinpath(f"templates/{name}.toml").read_text(encoding="utf-8")


def scenes_of_types(item_types: Collection[str]) -> list[str]:
    """Returns the names of the templates whose items are of one of ``item_types``."""
    return [name for name in OTHERS if _item_type(name) in item_types]


def added_scene_text(
    name: str,
    main: str,
    item_types: Mapping[str, Snapshot],
    learned_labels: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """Returns the TOML of the scene `name` for a file whose scene `main` is the one of home.toml.

    Sources and steps that read a missing column, relation or counter are left out. So are `ranker` and
    `fusion` if the ranker has not learned the item type.

    Args:
        item_types: {item type of the bundle: its snapshot}.
        learned_labels: {item type that the ranker has learned: labels}.
    Raises:
        ConfigError: there is no such template, or the bundle lacks its item type.
    """
    if name not in OTHERS:
        raise ConfigError(
            f"no template of a scene {name!r}{nearest(name, OTHERS)}; there are {[HOME, *OTHERS]}"
        )
    text = template_text(name)
    item_type = _item_type(name)
    if item_type is None:
        return text.replace(f'inherits = "{HOME}"', f'inherits = "{main}"')
    if item_type not in item_types:
        raise ConfigError(
            f"the scene {name} recommends items of the type {item_type!r}, and the bundle has only "
            f"{sorted(item_types)}: add [items.{item_type}] to data.toml, or publish it with "
            "karec.publish(…, item_types=…)"
        )
    return _without_missing(_for_labels(text, learned_labels.get(item_type, ())), item_types[item_type], name)


def _for_labels(text: str, labels: Sequence[str]) -> str:
    """Removes `ranker` and `fusion` if the ranker has learned no ``labels`` of the item type.

    The last label has the weight 1 if the weights of the template are of other labels.
    """
    if not labels:
        return re.sub(r'(?m)^ *\{ use = "(ranker|fusion)".*\n', "", text)
    weights = "".join(re.findall(r'"fusion", weights = \{(.*?)\}', text))
    if set(re.findall(r"(\w+) =", weights)) <= set(labels):
        return text
    return re.sub(r'("fusion", weights = ).*?\}', rf"\1{{ {toml_key(labels[-1])} = 1.0 }}", text)


def home_scene_text(
    scene: str, snapshot: Snapshot, objectives: Mapping[str, float], *, ranked_by: str = "ranker"
) -> str:
    """Returns the text of a karec.toml with one scene, sized for the works of `snapshot`.

    The scene is the one of home.toml if works have creators, else the one of plain.toml. Sources and steps
    that read a column or relation that `snapshot` lacks are left out.

    Args:
        objectives: {task: weight in the fused score}.
        ranked_by: rank orders by "ranker", "towers" (their inner product) or "als" (ALS factors, also in
            prerank). Logits are logged as before.
    """
    is_plain = CREATOR not in snapshot.works.columns
    text = template_text(PLAIN if is_plain else HOME)
    template = tomllib.loads(text)["scenes"][HOME]
    limits = _plain_limits if is_plain else _sized_limits
    sizes = limits(template["limits"], len(snapshot.works))
    for name, limit in sizes.items():
        text = _replace(rf"(?m)^({name} = )[\d_]+", f"{limit:_}", text)
    for source, quota in _quotas(template, sizes["recall"]).items():
        text = _replace(rf'(use = "{source}"\nquota = )[\d_]+', f"{quota:_}", text)
    weights = ", ".join(f"{toml_key(task)} = {weight}" for task, weight in objectives.items())
    text = _replace(r'(use = "fusion", weights = )\{[^}]*\}', f"{{ {weights} }}", text)
    if ranked_by == "als":
        text, n = re.subn(r'(?m)^ +\{ use = "top_k", k = "rank" \},\n', rf"{BY_ALS}\g<0>", text)
        text, m = re.subn(FIRST_CUT, _cut_by_als, text)
        assert (n, m) == (1, 1), "the template does not end prerank and rank as expected"
    if ranked_by == "towers":
        text, n = re.subn(r'"top_k", k = "rank" \}', BY_TOWERS, text)
        assert n == 2, f"the template has {n} selectors of rank, expected 2: one is the fallback"
    return _without_missing(text, snapshot, HOME).replace("[scenes.home", f"[scenes.{toml_key(scene)}")


def _cut_by_als(cut: re.Match[str]) -> str:
    """Returns the steps that cut by ALS in place of the inner product, with its quota."""
    use, k, column, at_most, end = cut.groups()
    quota = "" if column is None else f'{use}"quota", column = "{column}", at_most = {at_most}{end}'
    return f'{use}"inner_product", k = "recall"{end}{BY_ALS}{quota}{use}"top_k", k = {k}{end}'


def sized_quotas(recall: int) -> dict[str, int]:
    """Returns {source: quota} of home.toml for `recall` candidates, in the proportions of the template."""
    return _quotas(tomllib.loads(template_text(HOME))["scenes"][HOME], recall)


def _quotas(template: Mapping[str, Any], recall: int) -> dict[str, int]:
    """Returns {source: quota} for `recall` candidates; without sources whose quota names a limit."""
    limit = template["limits"]["recall"]
    quotas = {source["use"]: source["quota"] for source in template["recall"]}
    return {use: max(recall * quota // limit, 1) for use, quota in quotas.items() if quota != "recall"}


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


def _plain_limits(template: Mapping[str, int], n_works: int) -> dict[str, int]:
    """Returns the limits of the template, at most the number of works: the ranker scores a small library."""
    return {name: max(min(limit, n_works), 1) for name, limit in template.items()}


def _item_type(name: str) -> str | None:
    """Returns the item type of the template `name`; None if it is for works."""
    found = re.search(r'(?m)^item_type = "(\w+)"', template_text(name))
    return None if found is None else found[1]


def _without_missing(text: str, snapshot: Snapshot, scene: str) -> str:
    """Removes sources and steps that read a column, role, relation or counter that `snapshot` lacks."""
    columns, relations = snapshot.works.columns, snapshot.relations
    is_possible = {
        "follow": CREATOR in columns and "follows" in relations,
        "social": "friends" in relations or FAMILY in snapshot.users.columns,
        "community": COMMUNITY in snapshot.users.columns,
        "fresh": PUBLISHED in columns,
    }
    for source in (name for name, possible in is_possible.items() if not possible):
        text = re.sub(rf'\[\[scenes\.{scene}\.recall\]\][^\n]*\nuse = "{source}"\n(?s:.*?)\n\n', "", text)
    labels = re.findall(r"(\w+) = [\d.]+", "".join(re.findall(r'"blend".* weights = \{(.*)\} \}', text)))
    if any(counter(label) not in columns for label in labels):
        text = re.sub(r'("blend".*), weights = \{.*\} \}', r"\1 }", text)
    if PUBLISHED not in columns:
        text = re.sub(r'(?m)^ *\{ use = "freshness".*\n', "", text)
    if "consumed" not in relations:
        text = re.sub(r'(?m)^ *\{ use = "(not_consumed|consumed_last)" \},.*\n', "", text)
    if TAG not in columns:
        text = re.sub(r", similarity = \{ facets = \{ tag = [\d.]+ \} \}", "", text)
        text = text.replace('facets = ["tag"]\n', "")
    is_tone_number = TONE in columns and columns[TONE].dtype.kind == "f"  # a category is not a score
    usable = set(columns) - ({TONE} if not is_tone_number else set())
    text = _without_columns(text, _columns(text) - usable)
    return re.sub(r'(?m)^( *\{ use = )"page_rules", rules = \[\n *\] \}(?=,\n)', r'\1"top_k" }', text)


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
