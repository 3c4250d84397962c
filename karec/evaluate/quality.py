"""Quality of a training run's models on the test days: AUC, GAUC, ECE on the same rows, served by ONNX
Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.counters import BY_USER
from karec.aggregates.located_events import LocatedEvents
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.catalog.schema import EXPOSED
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval, ece, gauc, user_days
from karec.features.encoder import Encoder
from karec.files import write_text_aside
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples, as_known, build_examples
from karec.samples.rate_baselines import popularity_logits, rate_logits
from karec.samples.replay import logits_of_rankers
from karec.samples.threads import in_order
from karec.times import Progress

RUN_FORMAT = 3  # of run.json; format 1, without a number: settings in one flat table; 2: no slopes, levels
QUALITY_FORMAT = 3  # of quality.json; 1 and 2 are told in docs/formats.md
TOWERS = "towers"
Measures = dict[str, float | tuple[float, float] | None]
# of 2048 rows with long histories ONNX Runtime holds gigabytes, and takes up to ten times as long
BATCH = 256
# {group of users: least and most exposures that were known before a row}
GROUPS = {"0": (0, 0), "1-10": (1, 10), "11-50": (11, 50), "51+": (51, np.inf)}


def evaluate_run(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """What quality.json holds beside its format, of the models in a run folder, on the test days; it is
    written too.

    ``models`` is ``quality_table`` of all rows; ``by_history`` has the same for each group of
    ``GROUPS``, beside how many ``exposures`` and ``users`` the group has; one without rows has
    no models. Models are popularity, rates, the baselines that were trained, towers, and last the ranker,
    named by its kind: mmoe, lr, lightgbm, or both, whose two parts have a row each. Raises DataError as
    ``trained_run`` does.
    """
    run, test = trained_run(dataset, folder)
    settings = run["settings"]
    logits = _logits(run, test, folder, progress)
    probabilities = {name: 1.0 / (1.0 + np.exp(-np.asarray(s, np.float64))) for name, s in logits.items()}

    def models(rows: NDArray[Any]) -> dict[str, dict[str, Measures]]:
        return quality_table(
            {name: p[rows] for name, p in probabilities.items()},
            test.exposures.take(rows),
            test.encoder.tasks,
            dataset.valid_until_ms,
            settings["evaluation"]["resamples"],
            settings["seed"],
        )

    seen = exposures_before(dataset, as_known(dataset, settings["features"]["refresh_hours"]))[-len(test) :]
    quality = {
        "models": models(np.ones(len(test), bool)),
        "by_history": {
            group: {
                "exposures": int(rows.sum()),
                "users": len(np.unique(test.exposures.user_id[rows])),
                "models": models(rows) if rows.any() else {},
            }
            for group, rows in rows_by_history(seen).items()
        },
    }
    write_text_aside(folder / "quality.json", quality_json(quality))
    return quality


def _logits(
    run: Mapping[str, Any], test: Examples, folder: Path, progress: Progress | None
) -> dict[str, NDArray[Any]]:
    """{model: (M, T) logits of the test rows}, in the order of the tables; the ranker is last."""
    kind, tasks, threads = (
        run["settings"]["ranker"]["kind"],
        test.encoder.tasks,
        run["settings"]["run"]["threads"],
    )
    logits = {"popularity": popularity_logits(test), "rates": rate_logits(test)}
    files = {
        name: f"baseline_{name}.onnx" for name in run["settings"]["evaluation"]["baselines"] if name != kind
    }
    if kind == "both":
        files |= {part: f"ranker_{part}.onnx" for part in ("lightgbm", "mmoe")}
    models = [OnnxModel(folder / file) for file in (*files.values(), "ranker.onnx")]
    *others, ranked = logits_of_rankers(test, models, progress, threads)
    logits |= {name: found[:, : len(tasks)] for name, found in zip(files, others, strict=True)}
    user_tower, item_tower = (OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item"))
    logits[TOWERS] = tower_logits(test, user_tower, item_tower, run["towers"], threads)
    logits[kind] = ranked[:, : len(tasks)]  # the ranker's auxiliary tasks come after the encoder's
    return logits


def quality_json(quality: Mapping[str, Any]) -> str:
    """The text of a quality.json: what ``evaluate_run`` returns, beside the format."""
    return json.dumps({"format": QUALITY_FORMAT, **quality}, indent=1)


def quality_table(
    predictions: Mapping[str, NDArray[Any]],
    exposures: Impressions,
    tasks: Sequence[str],
    start_ms: int,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, dict[str, Measures]]:
    """{model: {task: measures}}: auc, gauc and ece, and how far auc and gauc lie behind the last model's
    (auc_behind, gauc_behind) and, where there are towers, behind theirs (auc_behind_towers,
    gauc_behind_towers).

    ``predictions`` {model: (N, T) probabilities} in the order of ``tasks``; GAUC by (user, day from
    ``start_ms``). Each measure has a 95 % interval over users, …_ci; differences are paired: the same draws
    of users for both. None stands for what the rows do not determine, as the AUC of labels of one class.
    """
    bootstrap = UserBootstrap(exposures.user_id, resamples, seed)
    group = user_days(exposures.user_id, exposures.time_ms, start_ms)
    for model, p in predictions.items():
        if p.shape != (len(exposures), len(tasks)):
            raise ValueError(f"{model}: predictions {p.shape}, expected {(len(exposures), len(tasks))}")
    behind = {"behind": list(predictions)[-1]} | ({"behind_towers": TOWERS} if TOWERS in predictions else {})
    table: dict[str, dict[str, Measures]] = {model: {} for model in predictions}
    for at, task in enumerate(tasks):
        y = exposures.labels[task]
        drawn = {model: _drawn(y, p[:, at], group, bootstrap) for model, p in predictions.items()}
        for model, mine in drawn.items():
            found = dict(mine)
            for name, other in behind.items():
                for measure in ("auc", "gauc"):
                    (theirs, their_draws), (own, own_draws) = drawn[other][measure], mine[measure]
                    found[f"{measure}_{name}"] = theirs - own, their_draws - own_draws
            table[model][task] = _with_intervals(found)
    return table


def _drawn(
    y: NDArray[Any], p: NDArray[Any], group: NDArray[Any], bootstrap: UserBootstrap
) -> dict[str, tuple[float, NDArray[Any]]]:
    """{measure: (its value, its bootstrap draws (R,))} of one model and task."""
    return {
        "auc": (auc(y, p), bootstrap.auc(y, p)),
        "gauc": (gauc(y, p, group), bootstrap.gauc(y, p, group)),
        "ece": (ece(y, p), bootstrap.ece(y, p)),
    }


def _with_intervals(found: Mapping[str, tuple[float, NDArray[Any]]]) -> Measures:
    measures: Measures = {}
    for name, (value, draws) in found.items():
        interval = bootstrap_interval(draws)
        measures[name] = value if np.isfinite(value) else None
        measures[f"{name}_ci"] = interval if np.isfinite(interval).all() else None
    return measures


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run folder. Raises DataError when ``folder`` is none, or its run.json is of another
    format."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a run folder of karec train: {error}") from error
    if not isinstance(run, dict) or run.get("format") != RUN_FORMAT:
        found = run.get("format") if isinstance(run, dict) else None
        raise DataError(
            f"{folder}/run.json has format {found}, this version reads {RUN_FORMAT}: train the run again, or "
            "evaluate it with the version that trained it"
        )
    return run


def trained_run(
    dataset: Dataset, folder: Path, on: Literal["validation", "test"] = "test"
) -> tuple[dict[str, Any], Examples]:
    """(run.json of a run folder, the days ``on`` as its encoder sees them).

    Raises DataError when ``folder`` is no run folder of this format or those days have no exposures.
    """
    run = read_run(folder)
    encoder = Encoder.load(folder / "encoder.npz")
    as_of = as_known(dataset, run["settings"]["features"]["refresh_hours"])
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures, as_of)
    time_ms, start_ms = dataset.exposures.time_ms, days_begin(dataset, on)
    measured = examples.take((time_ms >= start_ms) & ((on == "test") | (time_ms < dataset.valid_until_ms)))
    if not len(measured):
        raise DataError(f"{dataset.name} has no exposures from {start_ms} ms on: nothing to measure on")
    return run, measured


def days_begin(dataset: Dataset, on: Literal["validation", "test"]) -> int:
    """The moment at which validation, or test, begins."""
    return dataset.valid_until_ms if on == "test" else dataset.train_until_ms


def tower_logits(
    examples: Examples,
    user_tower: OnnxModel,
    item_tower: OnnxModel,
    heads: Mapping[str, Mapping[str, float]],
    threads: int = 0,
) -> NDArray[Any]:
    """(M, T): scale · (slope · ⟨task vector, item vector⟩ + level) + bias from the exported towers; ``heads``
    as in run.json, ``threads`` as ``in_order``. The user tower runs once a request.
    """
    scale, bias = (
        np.array([heads[part][task] for task in examples.encoder.tasks]) for part in ("scale", "bias")
    )
    first, request = examples.requests()

    def of_users(begin: int) -> tuple[NDArray[Any], ...]:
        return user_tower.run(
            examples.users(first[begin : begin + BATCH]), "task_vectors", "slopes", "levels"
        )

    asked = list(in_order(of_users, range(0, len(first), BATCH), threads))
    users, slopes, levels = (np.concatenate(part) for part in zip(*asked, strict=True))

    def of_rows(begin: int) -> NDArray[Any]:
        rows = np.arange(begin, min(begin + BATCH, len(examples)))
        (items,) = item_tower.run(examples.own_items(rows), "item_vector")
        of = request[rows]
        cosines = np.einsum("ntd,nd->nt", users[of], items)
        return np.asarray(scale * (slopes[of, 1:] * cosines + levels[of, 1:]) + bias)

    return np.concatenate(list(in_order(of_rows, range(0, len(examples), BATCH), threads)))


def exposures_before(dataset: Dataset, as_of: NDArray[Any]) -> NDArray[Any]:
    """(M,) float32: how often anything was shown to each exposure's user before ``as_of (M,)`` ms, those that
    the snapshot counted included. O(M log M)."""
    events = LocatedEvents.of(dataset.snapshot, dataset.exposures)
    counters = BY_USER.over_time(dataset.snapshot, events, (EXPOSED,))
    return np.asarray(counters.at(events.user, as_of)[:, 0])


def rows_by_history(seen: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """{group: (M,) bool} for ``seen (M,)`` exposures before each row; every row is in one group."""
    return {name: (seen >= least) & (seen <= most) for name, (least, most) in GROUPS.items()}
