"""The karec.toml that a new project starts from: one scene, every stage, sized for the catalogue at hand."""

from __future__ import annotations

from collections.abc import Sequence

OBJECTIVES = {"click": 1.0, "long_view": 1.0, "like": 2.0}

TEMPLATE = """\
# What each step does and which keys it takes: docs/howto-cascade.md. Paths are relative to this file.
bundle = "bundles"

[scenes.{scene}]
candidates = {candidates}          # at most so many works leave recall
request = [{{ use = "user_features" }}, {{ use = "user_tower" }}]
observers = [
    {{ use = "rank_log", folder = "rank_log" }},
    {{ use = "shadow", folder = "rank_log", share = 0.02, at_most = 10_000 }},     # 55 ms after one answer in fifty
]

[[scenes.{scene}.recall]]           # a channel fills its quota with works that no channel before it found
use = "profile"
quota = {profile}
on_failure = "skip"

[[scenes.{scene}.recall]]
use = "social"
quota = {social}
on_failure = "skip"

[[scenes.{scene}.recall]]
use = "model"
quota = {model}
on_failure = "skip"

[[scenes.{scene}.recall]]
use = "popular"
quota = {popular}

[[scenes.{scene}.recall]]
use = "fresh"
quota = {fresh}

[[scenes.{scene}.stages]]
name = "prerank"
steps = [
    {{ use = "index_rows" }},
    {{ use = "has_embedding" }},
    {{ use = "inner_product", k = {scored} }},
    {{ use = "not_shown" }},
    {{ use = "freshness", weight = 0.05, half_life_hours = 24 }},
    {{ use = "quota", column = "creator_id", at_most = 20 }},
    {{ use = "dpp", k = {preranked}, diversity = 0.3, type_weight = 0.05 }},
]

[[scenes.{scene}.stages]]
name = "rank"
steps = [
    {{ use = "ranker" }},
    {{ use = "fusion", weights = {{ {weights} }} }},
    {{ use = "top_k", k = {ranked} }},
]

[[scenes.{scene}.stages]]
name = "rerank"
steps = [
    {{ use = "dpp", k = {reranked}, diversity = 0.5, type_weight = 0.1 }},
    {{ use = "scatter", rules = [
        {{ column = "song_id", window = 2, max_count = 1 }},
        {{ column = "creator_id", window = 2, max_count = 1 }},
    ] }},
]
"""


def starting_config(scene: str, n_works: int, tasks: Sequence[str]) -> str:
    """The text of a karec.toml: 1e5 → 1e3 → 1e2 → k where there are works for it, less of each where there are not."""
    candidates = min(100_000, n_works)
    preranked = min(1000, max(candidates // 5, 1))
    ranked = min(100, max(preranked // 5, 1))
    shares = {"profile": 0.4, "social": 0.2, "model": 0.4, "popular": 0.4, "fresh": 0.4}
    return TEMPLATE.format(
        scene=scene,
        candidates=candidates,
        **{channel: max(int(candidates * share), 1) for channel, share in shares.items()},
        scored=min(2 * preranked, candidates),
        preranked=preranked,
        ranked=ranked,
        reranked=min(30, ranked),
        weights=", ".join(f"{task} = {OBJECTIVES.get(task, 1.0)}" for task in tasks),
    )
