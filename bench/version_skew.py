"""What a library of two model versions costs in quality: prerank's order against the ranker's, at several
shares.

    karec demo --out demo                                   # leaves run and run-2, of one encoder and one
    ranker python bench/version_skew.py --config demo/karec.toml --old demo/run --new demo/run-2

A part of the works, drawn by chance, has vectors of the new run, the others have those of the old one. Ways
to order:

    one user vector   the new version's, for every row
    mapped            the new version's, for old rows turned into the old space by the orthogonal map between
    the item
                      vectors of both (Procrustes, fitted on the same works)
    own vectors       each row meets the user vector of its version, and scores are taken as they are
    karec             that, with the old version's scores brought to the new one's scale
    (karec.refresh.calibration),
                      fitted on users of which none is judged

"Unmixed" is what users get of a library of one version, the mean of both at their shares. Every figure is the
mean over users and three draws of the part; the intervals of differences resample users. The second table
picks 50 of the best 500 works by DPP: how alike they are in the new version's space, where versions are apart
as karec.diversify has them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import karec
from karec.bundle import Bundle
from karec.config import load_cascade, open_bundle, scene_names
from karec.evaluate.consistency import known_users
from karec.evaluate.measures.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.measures.agreement import ndcg_against, normalised_hit_rate
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.observe.pool_scorer import PoolScorer, stage_named
from karec.refresh.calibration import line_between
from karec.types import Array, Candidates, Request

SHARES = (0.1, 0.5, 0.9)
DRAWS = 3
OLD, NEW = 1, 2
MEASURES = ("NDCG@50", "top 10 in 50", "top 50 in 100")


@dataclass(frozen=True)
class Version:
    """Of one run: ``items (W, D)`` and ``users (U, D)``."""

    items: Array
    users: Array


def version_of(run: Path, bundle: Bundle, rows: Array, users: Array, scene: int) -> Version:
    snapshot, encoder = bundle.snapshot, bundle.encoder
    items = encoder.encode_items(snapshot, rows, snapshot.time_ms)
    tower = OnnxModel(run / "user_tower.onnx")
    asked = [encoder.encode_user(snapshot, int(user), snapshot.time_ms, scene) for user in users]
    return Version(
        OnnxModel(run / "item_tower.onnx").run(items, "item_vector")[0],
        np.concatenate([tower.run(each, "user_vector")[0] for each in asked]),
    )


def ranked(config: Path, scene: str, bundle: Bundle, ids: Array, users: Array) -> Array:
    """(U, W) what the ranker's fused score says of the works."""
    cascade = load_cascade(config, scene, bundle)
    scorer, scores = PoolScorer(stage_named(cascade.stages, "rank")), []
    for user in users:
        request = Request(int(user), scene=scene, time_ms=bundle.snapshot.time_ms, request_id=str(user))
        with bundle.index.pinned() as view:
            request, _ = cascade.hydrated(request.with_view(view))
            scores.append(scorer.score(request, Candidates.of(ids).with_rows(view.lookup(ids)))[0].scores)
    return np.stack(scores)


def orthogonal(old: Array, new: Array) -> Array:
    """(D, D): new·R lies nearest to old."""
    u, _, v = np.linalg.svd(new.T.astype(np.float64) @ old)
    return np.asarray(u @ v, np.float32)


def mixed(old: Array, new: Array, moved: Array, line: tuple[float, float] | None) -> ItemIndex:
    """An index of both, as karec keeps it."""
    ids = np.arange(len(old))
    index = ItemIndex.build(ids[~moved], old[~moved], "float32", model_version=OLD)
    index.upsert(ids[moved], new[moved], None, NEW)
    if line is not None:
        index.calibrate(OLD, scale=line[0], offset=line[1])
    return index


def measured(scores: Array, rank: Array) -> Array:
    """(U, measures) of orders ``scores (U, W)``."""
    pairs = list(zip(scores, rank, strict=True))
    return np.array(
        [
            (ndcg_against(a, b, 50), normalised_hit_rate(a, b, 10, 50), normalised_hit_rate(a, b, 50, 100))
            for a, b in pairs
        ]
    )


def ways(old: Version, new: Version, moved: Array, line: tuple[float, float]) -> dict[str, Array]:
    """{way: (U, W) scores}."""
    ids, turned = np.arange(len(moved)), new.users @ orthogonal(old.items, new.items)

    def scored(index: ItemIndex, of_old: Array) -> Array:
        asked = zip(of_old, new.users, strict=True)
        return np.stack([index.scores(ids=ids, query_by_version={OLD: a, NEW: b}) for a, b in asked])

    plain, on_one_scale = (mixed(old.items, new.items, moved, each) for each in (None, line))
    return {
        "one user vector": scored(plain, new.users),
        "mapped": scored(plain, turned),
        "own vectors": scored(plain, old.users),
        "karec": scored(on_one_scale, old.users),
    }


def quality_table(old: Version, new: Version, rank: Array, line: tuple[float, float]) -> None:
    ends = [measured(each.users @ each.items.T, rank) for each in (old, new)]
    told = ", ".join(
        f"{name} {a:.3f} and {b:.3f}" for name, a, b in zip(MEASURES, *(e.mean(0) for e in ends), strict=True)
    )
    print(f"unmixed, of the old and of the new version: {told}")
    print("| refreshed | way | " + " | ".join(f"{name} | less than unmixed" for name in MEASURES) + " |")
    print("|---|---|" + "--:|--:|" * len(MEASURES))
    bootstrap = UserBootstrap(np.arange(len(rank)), 500, 0)
    for share in SHARES:
        unmixed = (1 - share) * ends[0] + share * ends[1]
        found: dict[str, list[Array]] = {}
        for draw in range(DRAWS):
            moved = np.random.default_rng(draw).random(len(old.items)) < share
            for name, scores in ways(old, new, moved, line).items():
                found.setdefault(name, []).append(measured(scores, rank))
        for name, each in found.items():
            mean, cells = np.mean(each, axis=0), []
            for at in range(len(MEASURES)):
                behind = unmixed[:, at] - mean[:, at]
                low, high = bootstrap_interval(bootstrap.mean(behind))
                cells.append(f"{mean[:, at].mean():.3f} | {behind.mean():+.4f} ({low:+.4f} … {high:+.4f})")
            print(f"| {share:.0%} | {name} | " + " | ".join(cells) + " |")


def picked_table(old: Version, new: Version, line: tuple[float, float]) -> None:
    print(
        "\n| refreshed | diversity | cosine of 50 picked | pairs above .9 | of the new version alone: cosine "
        "| "
        "pairs above .9 |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for share in SHARES:
        for diversity in (0.3, 0.6):
            told = []
            for user in range(min(len(new.users), 60)):
                moved = np.random.default_rng(user).random(len(old.items)) < share
                score = np.where(
                    moved, new.items @ new.users[user], old.items @ old.users[user] * line[0] + line[1]
                )
                best = np.argsort(-score, kind="stable")[:500]
                apart = np.zeros((len(best), 2, old.items.shape[1]), np.float32)
                at = moved[best].astype(int)
                apart[np.arange(len(best)), at] = np.where(at[:, None], new.items[best], old.items[best])
                row = []
                for vectors in (apart.reshape(len(best), -1), new.items[best]):
                    chosen = karec.dpp_select(
                        vectors, score[best], 50, diversity=diversity, standardise=True
                    ).indices
                    alike = new.items[best[chosen]] @ new.items[best[chosen]].T
                    pairs = alike[np.triu_indices(len(chosen), 1)]
                    row += [pairs.mean(), (pairs > 0.9).sum()]
                told.append(row)
            a, b, c, d = np.mean(told, axis=0)
            print(f"| {share:.0%} | {diversity} | {a:.3f} | {b:.1f} | {c:.3f} | {d:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="a karec.toml, whose ranker judges")
    parser.add_argument("--old", type=Path, required=True, help="the run folder of the version before")
    parser.add_argument("--new", type=Path, required=True, help="the run folder of the version that rolls in")
    parser.add_argument(
        "--users", type=int, default=150, help="users that are judged, and as many that are fitted on"
    )
    parser.add_argument("--works", type=int, default=3000, help="works, drawn once (default 3000)")
    given = parser.parse_args()
    if (given.old / "encoder.npz").read_bytes() != (given.new / "encoder.npz").read_bytes():
        parser.error(
            f"{given.old} and {given.new} have different encoders: one does not roll in beside the other"
        )
    bundle, scene = open_bundle(given.config), scene_names(given.config)[0]
    snapshot, rng = bundle.snapshot, np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(snapshot.works))[: given.works])
    users = np.asarray(snapshot.users.ids)[rng.permutation(known_users(snapshot))[: 2 * given.users]]
    code = (
        list(snapshot.labels.get("scene", [])).index(scene)
        if scene in snapshot.labels.get("scene", [])
        else -1
    )
    both = [version_of(run, bundle, rows, users, code) for run in (given.old, given.new)]
    half = len(users) // 2
    line = line_between(*(each.users[half:] @ each.items.T for each in both))
    old, new = (Version(each.items, each.users[:half]) for each in both)
    same = (old.items @ orthogonal(new.items, old.items) * new.items).sum(axis=1)
    print(
        f"{bundle.path}, scene {scene}: {half} users judged and {len(users) - half} fitted on, "
        f"{len(rows):,} works"
    )
    print(
        f"old scores · {line[0]:.3f} {line[1]:+.3f}; cosine of a work's old vector, mapped, with its new "
        f"one: "
        f"{same.mean():.3f}"
    )
    rank = ranked(given.config, scene, bundle, np.asarray(snapshot.works.ids)[rows], users[:half])
    quality_table(old, new, rank, line)
    picked_table(old, new, line)


if __name__ == "__main__":
    main()
