"""The ``karec.toml`` that a new project starts from: a template of ``templates/``, sized for the catalogue at
hand, without the steps that need what the platform does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from karec.catalog.schema import CREATOR, ERA, PUBLISHED, SONG, TAG
from karec.catalog.snapshot import Snapshot

BY_TOWERS = (
    '"inner_product", k = "rank" },           # of positives alone the towers know more than the ranker'
)
# of its limit
QUOTAS = {"follow": 0.05, "profile": 0.4, "social": 0.2, "model": 0.4, "popular": 0.4, "fresh": 0.4}


def starting_config(
    scene: str, snapshot: Snapshot, objectives: Mapping[str, float], *, by_towers: bool = False
) -> str:
    """The text of a karec.toml with one scene: 1e5 → 1e3 → 1e2 → k works, fewer of each in a small catalogue.

    ``objectives`` are the tasks with their weights in the fused score. ``by_towers``: rank orders by the
    inner product of the towers, which on positives alone is ahead of the ranker (docs/results.md); logits are
    logged as ever.
    """
    text = files("karec.config").joinpath("templates/home.toml").read_text(encoding="utf-8")
    limits = _limits(len(snapshot.works))
    for name, limit in limits.items():
        text = _replaced(rf"(?m)^({name} = )[\d_]+", f"{limit:_}", text)
    for channel, share in QUOTAS.items():
        quota = max(int(limits["recall"] * share), 1)
        text = _replaced(rf'(use = "{channel}"\nquota = )[\d_]+', f"{quota:_}", text)
    weights = ", ".join(f"{_key(task)} = {weight}" for task, weight in objectives.items())
    text = _replaced(r'(use = "fusion", weights = )\{[^}]*\}', f"{{ {weights} }}", text)
    if by_towers:
        text = _replaced(r'(?m)^( +\{ use = )"top_k", k = "rank" \},$', BY_TOWERS, text)
        text = _replaced(
            r'(?m)^(substitute = \[\{ use = )"top_k"(?=, k = "rank" '
            r"\}\])",
            '"inner_product"',
            text,
        )
    return _without_missing(text, snapshot).replace("[scenes.home", f"[scenes.{_key(scene)}")


def _without_missing(text: str, snapshot: Snapshot) -> str:
    """``text`` without the channels and steps that read a column, a role or a relation that ``snapshot``
    lacks."""
    columns, relations = snapshot.works.columns, snapshot.relations
    channels = {
        "profile": any(role in columns for role in (SONG, CREATOR, TAG, ERA)),
        "follow": CREATOR in columns and "follows" in relations,
        "social": "friends" in relations or "family" in snapshot.users.columns,
        "fresh": PUBLISHED in columns,
    }
    for channel, possible in channels.items():
        if not possible:
            text = _replaced(
                rf"(?s)()\[\[scenes\.home\.recall\]\][^\n]*\nuse = "
                rf'"{channel}"\n.*?\n\n',
                "",
                text,
            )
    if PUBLISHED not in columns:
        text = re.sub(r'(?m)^ *\{ use = "freshness".*\n', "", text)
    if TAG not in columns:
        text = _replaced(r"()similarity = \{ facets = \{ tag = [\d.]+ \} \}, ", "", text)
    for column in set(re.findall(r'column = "(\w+)"', text)) - set(columns):
        text = re.sub(rf'(?m)^ *\{{[^\n{{]*column = "{column}".*\n', "", text)
    text, without_rules = re.subn(r'(?m)^ *\{ use = "page_rules", rules = \[\n *\] \},\n', "", text)
    if without_rules:  # DPP, now the last step, takes as many works as the request wants
        text = _replaced(r'()k = "rerank", ', "", _replaced(r"(?m)()^rerank = .*\n", "", text))
    return text


def _limits(n_works: int) -> dict[str, int]:
    recall = min(100_000, n_works)
    prerank = min(1000, max(recall // 5, min(recall, 100)))
    rank = min(100, max(prerank // 5, min(prerank, 30)))
    return {
        "recall": recall,
        "scored": min(5 * prerank, recall),
        "prerank": prerank,
        "rank": rank,
        "rerank": min(30, rank),
    }


def _replaced(pattern: str, value: str, text: str) -> str:
    """``text`` with what follows the pattern's one group replaced; the template must hold it once."""
    replaced, n = re.subn(pattern, lambda found: found.group(1) + value, text)
    assert n == 1, f"the template holds {pattern} {n} times"
    return replaced


def _key(name: str) -> str:
    """``name`` as a TOML key, quoted where it must be."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
