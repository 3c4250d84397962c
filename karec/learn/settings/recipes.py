"""Named recipes: which losses teach the towers. A recipe sets keys of [distil]; a settings file may overrule
each.

    hard                   what users did, alone
    model-distillation     + soft labels of a ranker that has the towers' own features
    feature-distillation   + soft labels of a ranker that has cross features besides
    pools                  feature-distillation + soft labels of every work in its logged lists, shown or not
    list                   pools + the order of the works in its logged lists
    retrieval              the contrast of what a user took with works of the whole library, and a little of
                           hard labels

Without impressions (a log of positives alone) take retrieval: there, what a ranker says of drawn negatives
teaches less than the positives themselves. "auto" is retrieval for such a log and list for any other.

Source  C. Xu et al., Privileged features distillation at Taobao recommendations, KDD 2020 (features in the
        teacher only).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO = "auto"
NOTHING: Mapping[str, Any] = {
    "label_weight": 1.0,
    "retrieval_weight": 0.0,
    "ranker_features": "all",
    "soft_weight": 0.0,
    "list_weight": 0.0,
    "pool_weight": 0.0,
}
SOFT = {**NOTHING, "soft_weight": 0.8}
POOLS = {**SOFT, "pool_weight": 1.0}
LIST = {**POOLS, "list_weight": 1.0}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "hard": NOTHING,
    "model-distillation": {**SOFT, "ranker_features": "towers"},
    "feature-distillation": SOFT,
    "pools": POOLS,
    "list": LIST,
    "retrieval": {**NOTHING, "label_weight": 0.1, "retrieval_weight": 1.0},
}
OF_RETRIEVAL: Mapping[str, Mapping[str, Any]] = {
    "features": {"min_count": 1, "user_min_count": 1, "history_length": 100},
    "optimizer": {"batch_size": 512, "learning_rate": 3e-3},
    "towers": {"matching": True, "vector": 128, "epochs": 2},
}
"""By table, what recipe retrieval takes where the settings leave a key at its default: rare works are most of
a log of positives alone, so that each has its id."""
