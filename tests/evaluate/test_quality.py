"""The quality table: measures of every model and task, with intervals, on the same rows."""

import numpy as np
import pytest

from karec.evaluate.quality import quality_table
from karec.platform.events import Exposures


def test_quality_reports_every_model_and_task_with_intervals_around_the_value():
    generator = np.random.default_rng(1)
    n = 600
    y = generator.integers(0, 2, n).astype(np.uint8)
    exposures = Exposures(
        user_id=generator.integers(0, 40, n),
        work_id=np.arange(n),
        time_ms=np.arange(n) * 1000,
        scene=np.zeros(n, np.int32),
        labels={"click": y, "like": 1 - y},
        play_ms=np.zeros(n, np.int64),
    )
    guess = np.clip(y[:, None] * [0.3, -0.3] + generator.random((n, 2)), 0, 1)
    table = quality_table({"a": guess, "b": guess[:, ::-1]}, exposures, ("click", "like"), start_ms=0, resamples=50)
    gap = table["a"]["click"]["auc_behind"]
    assert gap == table["b"]["click"]["auc"] - table["a"]["click"]["auc"]
    assert table["a"]["click"]["auc_behind_ci"][0] <= gap <= table["a"]["click"]["auc_behind_ci"][1]
    assert table["b"]["click"]["auc_behind_ci"] == (0.0, 0.0)
    assert list(table) == ["a", "b"] and list(table["a"]) == ["click", "like"]
    for measure in ("auc", "gauc", "ece"):
        low, high = table["a"]["click"][f"{measure}_ci"]
        assert low <= high and high > 0
    low, high = table["a"]["click"]["auc_ci"]
    assert low < table["a"]["click"]["auc"] < high
    with pytest.raises(ValueError, match=r"predictions \(600, 1\), expected \(600, 2\)"):
        quality_table({"a": guess[:, :1]}, exposures, ("click", "like"), start_ms=0)
