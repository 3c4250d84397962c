"""The ``karec.toml`` that a new project starts from: a template of ``templates/``, sized for the catalogue at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

OBJECTIVES = {"click": 1.0, "long_view": 1.0, "like": 2.0}  # weights in the fused score; another task weighs 1
QUOTAS = {"profile": 0.4, "social": 0.2, "model": 0.4, "popular": 0.4, "fresh": 0.4}  # shares of what leaves recall


def starting_config(scene: str, n_works: int, tasks: Sequence[str]) -> str:
    """The text of a karec.toml with one scene: 1e5 → 1e3 → 1e2 → k works, fewer of each in a small catalogue."""
    text = files("karec.config").joinpath("templates/home.toml").read_text(encoding="utf-8")
    counts = _counts(n_works)
    for name, count in counts.items():
        text = _replaced(rf"(?m)^({name} = )[\d_]+", f"{count:_}", text)
    for channel, share in QUOTAS.items():
        quota = max(int(counts["recall"] * share), 1)
        text = _replaced(rf'(use = "{channel}"\nquota = )[\d_]+', f"{quota:_}", text)
    weights = ", ".join(f"{_key(task)} = {OBJECTIVES.get(task, 1.0)}" for task in tasks)
    text = _replaced(r'(use = "fusion", weights = )\{[^}]*\}', f"{{ {weights} }}", text)
    return text.replace("[scenes.home", f"[scenes.{_key(scene)}")


def _counts(n_works: int) -> dict[str, int]:
    recall = min(100_000, n_works)
    prerank = min(1000, max(recall // 5, 1))
    rank = min(100, max(prerank // 5, 1))
    return {
        "recall": recall,
        "scored": min(2 * prerank, recall),
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
