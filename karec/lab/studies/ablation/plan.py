"""Rows of the ablation: the models, their order, and the row that each is compared with.

Pieces are added one at a time: hard labels, + model distillation, + feature distillation, + soft labels of
whole pools, + their order (*list*).

Names of rows:

<recipe>-<towers>   towers, "full" or "static", of a recipe
peer-<towers>       a ranker with the features of these towers
teacher             the ranker that all other towers learn from, of the kind in the settings
teacher-again       the same with another seed
"""

from __future__ import annotations

from typing import Literal

from karec.lab.studies.ablation.table import Row

VARIANTS: tuple[Literal["full", "static"], ...] = ("full", "static")
PARENTS = {
    "model-distillation": "hard",
    "feature-distillation": "model-distillation",
    "pools": "feature-distillation",
    "list": "pools",
}
TITLES = {
    "hard": "hard labels",
    "model-distillation": "+ model distillation",
    "feature-distillation": "+ feature distillation",
    "pools": "+ feature distillation of whole pools",
    "list": "+ the pools' order (list)",
}


def ablation_rows() -> tuple[Row, ...]:
    """Returns every row, in the order of the table."""
    students = [
        Row(
            f"{name}-{towers}",
            f"{towers}: {title}",
            f"{PARENTS[name]}-{towers}" if name in PARENTS else None,
            towers,
        )
        for towers in VARIANTS
        for name, title in TITLES.items()
    ]
    return (
        Row("popularity", "popularity", None),
        Row("rates", "rates of user and work", "popularity"),
        Row("lr", "LR", "rates"),
        Row("lightgbm", "LightGBM", "lr"),
        *students,
        *(
            Row(f"peer-{towers}", f"ranker with the {towers} towers' features", f"hard-{towers}")
            for towers in VARIANTS
        ),
        Row("mmoe", "MMoE", "lightgbm"),
        Row("both", "MMoE and LightGBM, mixed", "mmoe"),
        Row("teacher", "ranker", "lightgbm"),
        Row("teacher-again", "ranker, re-seeded", "teacher"),
    )
