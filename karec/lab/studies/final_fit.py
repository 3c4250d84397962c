"""Final-fit study: test quality of models of the training days, and of the training and validation days."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.catalog.dataset import Dataset
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.model_pages import RANKER, TOWERS, model_pages
from karec.evaluate.non_inferiority import compare_versions
from karec.evaluate.pages import PageRequests
from karec.evaluate.quality import TESTED, read_run
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.times import Progress


def compare_final_fit(
    dataset: Dataset, settings: TrainSettings, run: Path, progress: Progress | None = None
) -> dict[str, dict[str, Any]]:
    """Trains into ``run`` with a final fit that ends before the test days, and measures both fits there.

    Returns {measure: {in_service, new, gain, gain_ci}}, where ``in_service`` learned from the training days,
    ``new`` also from the validation days. Measures: mean AUC, and NDCG@20 of pages.
    """
    test_ms, tested = dataset.valid_until_ms, run / TESTED
    settings = settings.replace(run={"final_fit": True})
    train(dataset, settings, run, progress, evaluate=False, fit_until_ms=test_ms)
    facts = read_run(run)["settings"]
    hours, resamples = facts["features"]["refresh_hours"], facts["evaluation"]["resamples"]
    compared = compare_versions(
        dataset, run, tested, 0.0, since_ms=test_ms, refresh_hours=hours, resamples=resamples
    )
    gains: dict[str, dict[str, Any]] = {
        f"{model}, mean AUC": values for model, values in compared["models"].items()
    }
    requests = PageRequests.from_dataset(dataset, test_ms)
    pages = [model_pages(dataset, requests, folder, facts, progress) for folder in (tested, run)]
    for row in (RANKER, TOWERS):
        old, new = (requests.measure(rows[row])["ndcg"] for rows in pages)
        gain = UserBootstrap(requests.users, resamples, 0).mean_with_interval(new - old)
        means = {"in_service": old.mean(), "new": new.mean()}
        gains[f"{row}, NDCG@20"] = {**means, "gain": gain["value"], "gain_ci": gain["ci"]}
    return gains


def final_fit_table(gains: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            name,
            *(f"{values[fit]:.4f}" for fit in ("in_service", "new")),
            format_measure(values["gain"], values["gain_ci"], signed=True),
        )
        for name, values in gains.items()
    ]
    return Table(
        "Measures on the test days", ("", "training days", "+ validation days", "gain, paired"), rows
    )
