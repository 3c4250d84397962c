"""``karec data init`` writes a data.toml that loads unchanged, with a question mark at each guess."""

import tomllib

import pytest
from own_logs import listens, movie_ratings, shop_actions, video_impressions

from karec.data.draft import write_contract
from karec.errors import DataError


@pytest.fixture
def draft(tmp_path):
    """Returns draft(write): the folder of the files, the written text, and its tables."""

    def draft(write):
        folder = write(tmp_path)
        text = write_contract([folder], folder)
        (folder / "data.toml").write_text(text, encoding="utf-8")
        return folder, text, tomllib.loads(text)

    return draft


def guesses(text):
    """Returns keys and sections with a question mark."""
    return {line.split("=")[0].split("#")[0].strip() for line in text.splitlines() if "# ?" in line}


def test_init_makes_a_label_from_ratings_by_their_median(draft, read):
    folder, text, toml = draft(movie_ratings)
    assert toml["events"] == {
        "path": "ratings.csv",
        "columns": {"user": "userId", "item": "movieId", "time": "timestamp"},
    }
    assert toml["labels"]["liked"]["column"] == "rating" and 2.5 <= toml["labels"]["liked"]["at_least"] <= 4.5
    assert toml["items"] == {
        "path": "movies.csv",
        "id": "movieId",
        "roles": {"tag": "genres"},
        "lists": {"genres": "|"},
        "ignore": ["title"],
    }
    assert {"path", "columns", "[labels]", "[meaning]", "roles", "lists", "ignore"} <= guesses(text)
    result = read(folder)
    assert result.report.shape == "impressions" and result.dataset.tasks == ("liked",)
    works = result.dataset.snapshot.works
    assert {"tag", "tag2"} <= works.columns.keys()
    genres = {result.dataset.snapshot.labels["tag"][code] for code in works["tag"]}
    assert genres == {"Action", "Comedy", "Drama", "Horror", "Sci-Fi"}


def test_init_finds_view_and_labels_of_a_log_of_actions(draft, read):
    folder, text, toml = draft(shop_actions)
    assert toml["events"]["columns"] == {
        "user": "customer",
        "item": "sku",
        "time": "when",
        "event": "action",
    }
    assert toml["events"]["view"] == "view" and list(toml["labels"]) == ["click", "cart", "buy"]
    assert toml["meaning"] == {"enjoyed": ["click", "cart"], "liked": ["buy"]}
    assert toml["items"] == {"path": "goods.csv", "id": "sku", "roles": {"tag": "category"}}
    assert {"view", "[labels]", "[meaning]", "path", "columns"} <= guesses(text)
    result = read(folder)
    assert result.report.shape == "actions" and result.dataset.tasks == ("click", "cart", "buy")
    assert result.dataset.snapshot.works["price"].dtype == "float32"


def test_init_makes_labels_from_flags_of_impressions(draft, read):
    folder, _, toml = draft(video_impressions)
    columns = {"user": "user_id", "item": "video_id", "time": "time_ms", "play_ms": "play_time_ms"}
    assert toml["events"]["columns"] == columns
    assert {name: label["column"] for name, label in toml["labels"].items()} == {
        "click": "is_click",
        "like": "is_like",
    }
    assert toml["meaning"] == {"enjoyed": ["click"], "liked": ["like"]}
    roles = {"creator": "author_id", "type": "video_type", "tag": "tag", "published": "upload_dt"}
    assert toml["items"]["roles"] == roles and toml["items"]["lists"] == {"tag": ","}
    assert toml["users"] == {"path": "user_features.csv", "id": "user_id"}
    result = read(folder)
    works, users = result.dataset.snapshot.works, result.dataset.snapshot.users
    assert {"creator_id", "type", "tag", "tag2", "upload_ms"} <= works.columns.keys()
    assert users["is_streamer"].dtype == "int32" and users["follows_n"].dtype == "float32"


def test_init_describes_a_log_without_labels_as_positives(draft, read):
    folder, text, toml = draft(listens)
    assert "labels" not in toml and toml["negatives"] == {"per_positive": 4}
    assert "# ? No column shows" in text
    result = read(folder)
    assert result.report.shape == "positives"
    assert any("only positives" in note for note in result.dataset.notes)


def test_init_splits_a_log_without_times_by_user(draft, read):
    def write(folder):
        listens(folder)
        for path in folder.glob("*.csv"):
            lines = [line.split(",") for line in path.read_text().splitlines()]
            at = lines[0].index("listened_at")
            path.write_text("\n".join(",".join(cells[:at] + cells[at + 1 :]) for cells in lines) + "\n")
        return folder

    folder, text, toml = draft(write)
    assert toml["events"]["columns"].keys() == {"user", "item"} and toml["split"] == {"by": "user"}
    assert "labels" not in toml and {"path", "columns"} <= guesses(text)
    result = read(folder)
    assert result.report.shape == "positives" and result.dataset.timeless


def test_init_refuses_files_without_a_log_with_their_columns(tmp_path):
    (tmp_path / "prices.csv").write_text("sku,price\na,1\n")
    with pytest.raises(DataError, match=r"no table has a user, an item and a time.*prices\.csv: sku, price"):
        write_contract([tmp_path], tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        write_contract([tmp_path / "none"], tmp_path)


def test_init_skips_and_names_an_unreadable_file(draft):
    def write(folder):
        (listens(folder) / "broken.parquet").write_bytes(b"PAR1 and no more")
        return folder

    _, text, _ = draft(write)
    assert "# skipped:" in text and "broken.parquet" in text


def test_init_reads_a_folder_as_one_table(tmp_path):
    (listens(tmp_path / "log") / "listens.csv").rename(tmp_path / "log" / "part-0.csv")
    text = write_contract([tmp_path], tmp_path)
    assert tomllib.loads(text)["events"]["path"] == "log"
