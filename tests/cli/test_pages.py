"""`karec train` ends with the pages of the test days; `karec evaluate pages` measures them again."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from own_files import START_S, write_log

from karec.cli import main
from karec.cli.output import ProgressReport
from karec.cli.pages import ADVICE, PAGE, cascade_pages, describe_best_row, measure_pages, print_pages
from karec.data.load import load
from karec.evaluate.model_pages import RANKER, TOWERS, model_pages
from karec.evaluate.pages import PageRequests
from karec.evaluate.quality import TESTED, read_run

TOML = """
[events]
path = "log.csv"
columns = { user = "customer", item = "sku", time = "at" }
[meaning]
enjoyed = ["positive"]
consumed = ["positive"]
"""
SETTINGS = """
features = { dim = 4, min_count = 3, history_length = 5 }
ranker = { kind = "lr", epochs = 1 }
towers = { epochs = 1, hidden = 16, vector = 8 }
distil.recipe = "hard"
evaluation = { baselines = [], resamples = 40 }
run.threads = 1
"""
POPULAR = """
bundle = "bundles"
[scenes.home]
[scenes.home.limits]
recall = 200
[[scenes.home.recall]]
use = "popular"
quota = 200
[[scenes.home.stages]]
name = "rank"
steps = [{ use = "index_rows" }, { use = "not_consumed" }, { use = "top_k" }]
"""
GROUPS, PER_GROUP, USERS, BOUGHT = 10, 20, 120, 12


def write_groups(folder):
    """Writes purchases of users of GROUPS groups, each of which buys items of its own at random times."""
    generator = np.random.default_rng(3)
    rows = []
    for user in range(USERS):
        items = user % GROUPS + GROUPS * generator.permutation(PER_GROUP)[:BOUGHT]
        seconds = START_S + generator.integers(0, 20 * 86_400, BOUGHT)
        rows += [(user, item, at) for item, at in zip(items.tolist(), seconds.tolist(), strict=True)]
    write_log(folder, sorted(rows, key=lambda row: row[2]), head=("customer", "sku", "at"))
    (folder / "data.toml").write_text(TOML)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a log of groups and of a training that learned almost nothing from it."""
    folder = tmp_path_factory.mktemp("groups")
    write_groups(folder)
    (folder / "train.toml").write_text(SETTINGS)
    options = ["--out", str(folder / "out"), "--settings", str(folder / "train.toml")]
    assert main(["train", str(folder), *options]) == 0
    return folder


def test_last_line_names_the_method_that_is_ahead(trained, capsys):
    run = trained / "out" / "run"
    stored = json.loads((run / "pages.json").read_text())
    measure, best = stored["ahead"]
    assert best in ("item-kNN", "EASE^R", "ALS") and stored["users"]["all"] > 50
    assert stored["compared"][measure][best]["ci"][0] > 0
    assert list(stored["rows"])[-4:] == ["towers alone", "ranker alone", "ALS factors alone", PAGE]
    assert all(row["all"]["owned"]["value"] == 0 for name, row in stored["rows"].items() if name != PAGE)
    assert main(["evaluate", "pages", str(trained), "--run", str(run)]) == 0
    last_line = capsys.readouterr().out.strip().splitlines()[-1]
    assert last_line == describe_best_row(stored) and last_line.startswith(best)


def test_evaluate_pages_prints_what_train_stored(trained, capsys):
    run = trained / "out" / "run"
    stored = json.loads((run / "pages.json").read_text())
    assert main(["evaluate", "pages", str(trained), "--run", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == stored["rows"] and printed["compared"] == stored["compared"]


def test_cascade_pages_do_not_depend_on_the_test_days(trained, tmp_path):
    run, dataset = trained / "out" / "run", load(trained, tmp_path).dataset
    requests = PageRequests.from_dataset(dataset, dataset.valid_until_ms)
    exposures = dataset.exposures.take(np.arange(len(dataset.exposures)))
    later = exposures.time_ms >= dataset.valid_until_ms
    exposures.work_id[later] = np.random.default_rng(0).choice(dataset.snapshot.works.ids, later.sum())
    changed = dataclasses.replace(dataset, exposures=exposures)
    with ProgressReport() as progress:
        pages, same_pages = (
            cascade_pages(data, requests, run, read_run(run)["settings"], run.parent, progress)
            for data in (dataset, changed)
        )
    np.testing.assert_array_equal(pages, same_pages)


def test_describe_best_row_names_the_closest_if_none_is_ahead():
    gap = {"value": -0.01, "ci": (-0.02, 0.0)}
    compared = {"ndcg": {"ALS": gap, "ranker alone": {"value": 0.0, "ci": (0.0, 0.0)}}}
    measured = {"rows": {"ALS": {}}, "simple": {"ALS": {}}, "compared": compared, "ahead": None}
    assert describe_best_row(measured).endswith("ALS comes closest: -0.0100 [-0.0200, 0.0000] NDCG@20")


def test_describe_best_row_says_that_held_out_items_were_shown():
    compared = {"ndcg": {"ALS": {"value": 0.02, "ci": (0.01, 0.03)}}}
    measured = {"rows": {"ALS": {}}, "compared": compared, "ahead": ("ndcg", "ALS"), "ranked_by": "ranker"}
    texts = [describe_best_row({**measured, "has_impressions": has}) for has in (False, True)]
    assert texts[1].startswith(texts[0]) and texts[1] != texts[0]
    served = describe_best_row({**measured, "has_impressions": False, "ranked_by": "als"})
    assert ADVICE["ALS"] in texts[0] and ADVICE["ALS"] not in served


def test_print_pages_reports_that_no_page_was_measured(tmp_path, capsys):
    print_pages({"k": 20, "users": {}, "rows": {}, "simple": {}, "compared": {}, "ahead": None})
    assert capsys.readouterr().out.startswith("no page was measured")


def test_measure_pages_leaves_out_days_that_trained_the_models(trained, tmp_path):
    folder, dataset = tmp_path / "run", load(trained, tmp_path).dataset
    shutil.copytree(trained / "out" / "run" / TESTED, folder)
    facts = {**read_run(folder), "trained_until_ms": int(dataset.exposures.time_ms[-1]) + 1}
    (folder / "run.json").write_text(json.dumps(facts))
    with ProgressReport() as progress:
        measured = measure_pages(dataset, folder, progress)
    assert measured["rows"] == {} and describe_best_row(measured).startswith("no page was measured")


def test_advice_serves_popularity(trained, tmp_path):
    run, dataset = trained / "out" / "run", load(trained, tmp_path).dataset
    (tmp_path / "karec.toml").write_text(POPULAR)
    requests = PageRequests.from_dataset(dataset, dataset.valid_until_ms)
    with ProgressReport() as progress:
        pages = cascade_pages(dataset, requests, run, read_run(run)["settings"], tmp_path, progress)
    most_shown = np.bincount(pages[pages >= 0]).argsort()[-20:]
    assert (pages >= 0).all() and requests.measure(pages)["owned"].max() == 0
    assert np.isin(pages[:, 0], most_shown).all()


def test_advice_serves_the_towers(trained, tmp_path):
    """The two steps that the advice quotes are exchanged in a new karec.toml."""
    run, dataset = trained / "out" / "run", load(trained, tmp_path).dataset
    replaced, by = re.findall(r"\{[^}]*\}", ADVICE["towers alone"])
    text = (trained / "out" / "karec.toml").read_text()
    assert text.count(replaced) == 2
    (tmp_path / "karec.toml").write_text(text.replace(replaced, by))
    requests = PageRequests.from_dataset(dataset, dataset.valid_until_ms)
    settings = read_run(run)["settings"]
    with ProgressReport() as progress:
        pages = cascade_pages(dataset, requests, run, settings, tmp_path, progress)
        rows = model_pages(dataset, requests, run, settings)
    assert (pages == rows[TOWERS]).mean() > 0.9 > (rows[RANKER] == rows[TOWERS]).mean()


def test_every_row_has_advice(trained):
    stored = json.loads((trained / "out" / "run" / "pages.json").read_text())
    assert set(stored["rows"]) - {PAGE} <= set(ADVICE)
