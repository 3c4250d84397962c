"""The pages from files to a service run in order: data.md trains the bundle that the next pages use."""

import json
import random
import shutil
import time
import tomllib

import pyarrow.parquet as pq
import pytest
from doc_pages import free_port, run_page, toml_tables
from own_logs import listens, movie_ratings, shop_actions, video_impressions

from karec.cli import main
from karec.data.load import load

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def data_page(tmp_path_factory):
    """docs/data.md after its last block."""
    folder = tmp_path_factory.mktemp("data")
    shop_actions(folder / "shop")
    movie_ratings(folder / "movies")
    video_impressions(folder / "videos")
    listens(folder / "listens")
    (folder / "users.csv").write_text("customer,age\nc-001,30\nc-002,40\n")
    return run_page("docs/data.md", folder)


@pytest.fixture
def trained_shop(data_page, tmp_path):
    """A folder with `shop` and `run`, as docs/data.md leaves them."""
    for name in ("shop", "run"):
        shutil.copytree(data_page.folder / name, tmp_path / name, symlinks=True)
    return tmp_path


def test_data_page_makes_pages_for_one_user_and_for_many(data_page):
    assert (data_page.folder / "run" / "karec.toml").is_file()
    pages = pq.read_table(data_page.folder / "pages.parquet").to_pydict()
    assert [pages["user_id"].count(user) for user in ("c-001", "c-002")] == [10, 10]


def test_data_page_shows_the_file_that_data_init_writes(data_page):
    written = tomllib.loads((data_page.folder / "shop" / "data.toml").read_text())
    assert written in toml_tables("docs/data.md")


@pytest.mark.parametrize(
    ("folder", "shape"), [("movies", "impressions"), ("videos", "impressions"), ("listens", "positives")]
)
def test_data_page_describes_logs_of_other_kinds(data_page, tmp_path, folder, shape):
    report = load(data_page.folder / folder, tmp_path).report
    assert report.shape == shape
    assert min(report.parts.values()) > 0


def test_privacy_page_erases_a_user_and_finds_what_is_due(trained_shop):
    run_page("docs/privacy.md", trained_shop)
    assert len((trained_shop / "run" / "erased.txt").read_text().splitlines()) == 2


def test_training_page_trains_and_compares_with_the_version_in_service(trained_shop):
    online = '\n[online]\nurl = "sqlite:online.db"\n'
    with (trained_shop / "run" / "karec.toml").open("a") as config:
        config.write(online)
    (trained_shop / "rows.jsonl").write_text("\n".join(map(json.dumps, served_impressions(300))))
    assert main(["ingest", str(trained_shop / "run" / "karec.toml"), str(trained_shop / "rows.jsonl")]) == 0
    run_page("docs/training.md", trained_shop)
    assert (trained_shop / "run7" / "bundles" / "current").exists()
    json.loads((trained_shop / "quality.json").read_text())
    assert "compared" in json.loads((trained_shop / "run" / "run-2" / "run.json").read_text())
    assert (trained_shop / "run" / "bundles" / "current").resolve().name == "v0000000001"


def served_impressions(n):
    """Rows of the last 40 hours, in order of time."""
    generator, now_ms = random.Random(7), time.time_ns() // 1_000_000
    for at in range(n):
        yield {
            "event": "impression",
            "user_id": f"c-{generator.randrange(30):03}",
            "item_id": f"SKU{generator.randrange(60):04}",
            "labels": [name for name in ("click", "cart", "buy") if generator.random() < 0.5],
            "time_ms": now_ms - 40 * HOUR_MS + at * 40 * HOUR_MS // n,
        }


def test_online_features_page_uses_events_at_once(trained_shop):
    run_page("docs/online-features.md", trained_shop)
    assert (trained_shop / "run" / "bundles" / "library").is_dir()


def test_serving_page_serves_and_its_client_calls(trained_shop):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    port = free_port()
    with (trained_shop / "run" / "karec.toml").open("a") as config:
        config.write(f"\n[serve]\nport = {port}\n")
    run = run_page("docs/serving.md", trained_shop, replacements={"localhost:8080": f"localhost:{port}"})
    page, batch, events, items, *_ = map(json.loads, run.output("post()").splitlines())
    assert (events["events"], items["events"]) == (1, 1)
    assert len(page["items"]) == 2 and "trace" in page
    assert [page["is_cold_start"] for page in batch["pages"]] == [False, True]
