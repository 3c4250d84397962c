"""``karec data init`` writes a data.toml that loads unchanged, with a question mark at each guess."""

import shutil
import tomllib
from datetime import UTC, datetime

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
    assert toml["meaning"]["enjoyed"] == ["liked"] and toml["labels"]["rated"]["task"] is False
    result = read(folder)
    assert result.report.shape == "impressions" and result.dataset.tasks == ("liked",)
    works = result.dataset.snapshot.works
    assert {"tag", "tag2"} <= works.columns.keys()
    genres = {result.dataset.snapshot.labels["tag"][code] for code in works["tag"]}
    assert genres == {"Action", "Comedy", "Drama", "Horror", "Sci-Fi"}


def test_init_names_unused_columns_that_may_show_what_users_did(draft):
    def write(folder):
        folder.mkdir(exist_ok=True)
        actions = "gesehen", '"ge\nkauft"'  # a line end in a cell stays inside the comment
        rows = [
            f"k{at % 40};a{at % 37};2024-03-{1 + at // 20:02} 10:00:00;{actions[at % 2]};{1 + at % 5};x"
            for at in range(400)
        ]
        (folder / "log.csv").write_text("\n".join(["Kunde;Artikel;Zeitpunkt;Aktion;Sterne;Quelle", *rows]))
        return folder

    _, text, toml = draft(write)
    assert toml["events"]["columns"].keys() == {"user", "item", "time"}
    named = [line for line in text.splitlines() if line.startswith("# ?") and "is not used" in line]
    assert [line.split('"')[1] for line in named] == ["Aktion", "Sterne"]  # all values of Quelle are equal


def test_init_takes_no_label_that_all_ratings_have(draft, read):
    def write(folder):
        path = movie_ratings(folder) / "ratings.csv"
        head, *rows = (line.split(",") for line in path.read_text().splitlines())
        lines = [[*row[:2], "5" if at % 3 == 0 else "1", row[3]] for at, row in enumerate(rows)]
        path.write_text("\n".join(map(",".join, [head, *lines])) + "\n")
        return folder

    folder, _, toml = draft(write)
    assert toml["labels"]["liked"]["at_least"] == 5
    assert read(folder).report.labels["liked"] == pytest.approx(1 / 3, abs=0.01)


def test_init_finds_view_and_labels_of_a_log_of_actions(draft, read):
    folder, text, toml = draft(shop_actions)
    assert toml["events"]["columns"] == {
        "user": "customer",
        "item": "sku",
        "time": "when",
        "event": "action",
    }
    assert toml["events"]["view"] == "view" and list(toml["labels"]) == ["click", "cart", "buy"]
    assert toml["meaning"] == {"enjoyed": ["click", "cart"], "liked": ["buy"], "consumed": ["buy"]}
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
    assert toml["meaning"] == {"enjoyed": ["click"], "liked": ["like"], "consumed": []}
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


def test_init_reads_a_log_of_one_kind_of_event_as_positives(draft, read):
    def write(folder):
        path = listens(folder) / "listens.csv"
        head, *rows = path.read_text().splitlines()
        path.write_text(
            "\n".join(
                [f"{head},action,position", *(f"{row},buy,{1 + at % 9}" for at, row in enumerate(rows))]
            )
        )
        return folder

    folder, _, toml = draft(write)
    assert "labels" not in toml and toml["events"]["columns"].keys() == {"user", "item", "time"}
    result = read(folder)
    assert result.report.shape == "positives" and result.dataset.exposures.position is None


def test_init_refuses_one_kind_of_event_with_missing_cells(tmp_path):
    path = listens(tmp_path) / "listens.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text(
        "\n".join([f"{head},action", *(f"{row},{'buy' * (at % 2)}" for at, row in enumerate(rows))])
    )
    with pytest.raises(DataError, match="'action' has missing cells"):
        write_contract([tmp_path], tmp_path)


def test_init_takes_small_whole_numbers_as_positions(draft):
    def write(folder):
        path = shop_actions(folder) / "log.csv"
        head, *rows = path.read_text().splitlines()
        lines = [f"{row},{1 + at % 9},{at}" for at, row in enumerate(rows)]
        path.write_text("\n".join([f"{head},slot,rank", *lines]))
        return folder

    assert draft(write)[2]["events"]["columns"]["position"] == "slot"


def test_init_makes_no_creator_of_words_of_a_shop(draft):
    def write(folder):
        path = shop_actions(folder) / "goods.csv"
        head, *rows = path.read_text().splitlines()
        lines = [f"{row},brand {at % 3},seller {at % 5}" for at, row in enumerate(rows)]
        path.write_text("\n".join([f"{head},brand,seller_id", *lines]))
        return folder

    assert draft(write)[2]["items"]["roles"] == {"tag": "category"}


def test_init_labels_ratings_without_times_by_their_stars(draft, read):
    def write(folder):
        path = movie_ratings(folder) / "ratings.csv"
        lines = [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
        return folder

    folder, _, toml = draft(write)
    assert toml["labels"]["liked"]["column"] == "rating" and toml["split"] == {"by": "user"}
    result = read(folder)
    assert result.report.shape == "impressions" and 0 < result.report.labels["liked"] < 1


def test_init_takes_no_basket_number_as_an_item(draft):
    def write(folder):
        rows = [
            f"{5000 + at // 4},{80 + at * 7 % 50},2,2011-03-{1 + at // 20:02} 09:30,{at // 4 % 30}"
            for at in range(400)
        ]
        head = "InvoiceNo,StockCode,Quantity,InvoiceDate,CustomerID"
        (folder / "retail.csv").write_text("\n".join([head, *rows]) + "\n")
        return folder

    _, _, toml = draft(write)
    columns = toml["events"]["columns"]
    assert (columns["user"], columns["item"]) == ("CustomerID", "StockCode")


def test_load_reports_a_catalogue_that_users_took_as_a_whole(tmp_path, read):
    rows = [f"{user},{item},{1_700_000_000 + item * 86_400}" for user in range(30) for item in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    (tmp_path / "data.toml").write_text(write_contract([tmp_path], tmp_path))
    with pytest.raises(DataError, match="nearly all of the 20 items"):
        read(tmp_path)


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
    with pytest.raises(DataError, match=r"no table has columns of a user and.*prices\.csv: sku, price"):
        write_contract([tmp_path], tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        write_contract([tmp_path / "none"], tmp_path)


def test_init_refuses_and_names_an_unreadable_file(tmp_path):
    (listens(tmp_path) / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"broken\.parquet.*karec data init \S+listens\.csv"):
        write_contract([tmp_path], tmp_path)


def test_init_refuses_and_names_a_table_without_ids_of_the_log(tmp_path):
    (shop_actions(tmp_path) / "weather.csv").write_text("day,degrees\n2024-01-01,3\n2024-01-02,5\n")
    with pytest.raises(DataError, match=r"weather\.csv.*karec data init \S+log\.csv \S+goods\.csv"):
        write_contract([tmp_path], tmp_path)
    text = write_contract([tmp_path / "log.csv", tmp_path / "goods.csv"], tmp_path)
    assert tomllib.loads(text)["items"]["path"] == "goods.csv"


def _rename_columns(path, names):
    _, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([",".join(names), *rows]) + "\n", encoding="utf-8")


def test_init_finds_user_item_and_event_by_their_values(draft, read):
    def write(folder):
        shop_actions(folder)
        _rename_columns(folder / "log.csv", ("zeit", "kunde", "ware", "was"))
        _rename_columns(folder / "goods.csv", ("ware", "gang", "preis"))
        return folder

    folder, _, toml = draft(write)
    columns = {"time": "zeit", "user": "kunde", "item": "ware", "event": "was"}
    assert toml["events"]["columns"] == columns and toml["items"]["id"] == "ware"
    assert list(toml["labels"]) == ["click", "cart", "buy"]
    assert read(folder).report.shape == "actions"


def test_init_reads_days_before_months(draft, read):
    def write(folder):
        path = shop_actions(folder) / "log.csv"
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        times = [f"{row[8:10]}/{row[5:7]}/{row[:4]} {row[11:16]}{row[20:]}" for row in rows]
        path.write_text("\n".join([head, *times]) + "\n", encoding="utf-8")
        return folder

    folder, _, toml = draft(write)
    assert toml["events"]["columns"]["time"] == "when"
    impressions = read(folder).dataset.exposures
    assert {datetime.fromtimestamp(t / 1000, UTC).year for t in impressions.time_ms.tolist()} == {2023}


def test_init_asks_for_the_time_format_if_day_and_month_both_fit(draft, read):
    def write(folder):
        path = shop_actions(folder) / "log.csv"
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        times = [f"{1 + at % 9:02}/11/2023 {row[11:16]}{row[20:]}" for at, row in enumerate(rows)]
        path.write_text("\n".join([head, *times]) + "\n", encoding="utf-8")
        return folder

    folder, text, toml = draft(write)
    assert toml["events"]["time_format"] == "%d/%m/%Y %H:%M" and "time_format" in guesses(text)
    months = [datetime.fromtimestamp(t / 1000, UTC).month for t in read(folder).dataset.exposures.time_ms]
    assert set(months) == {11}


def test_init_refuses_a_time_that_it_cannot_read(tmp_path):
    path = shop_actions(tmp_path) / "log.csv"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    lines = [head.replace("when", "time"), *(f"yesterday{row[20:]}" for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"the column 'time' has the name of a time, .*'yesterday'"):
        write_contract([tmp_path], tmp_path)


def test_init_makes_one_label_of_spellings_of_an_event(draft, read):
    def write(folder):
        path = shop_actions(folder) / "log.csv"
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        rows = [
            row[:-5] + "Click" if row.endswith("click") and at % 3 else row for at, row in enumerate(rows)
        ]
        path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
        return folder

    def clicks(folder):
        labels = read(folder).dataset.exposures.labels
        return labels["click"].tolist()

    folder, _, toml = draft(write)
    assert set(toml["labels"]["click"]["event"]) == {"click", "Click"}
    as_one = clicks(folder)
    log = folder / "log.csv"
    log.write_text(log.read_text().replace("Click", "click"))
    data = folder / "data.toml"
    data.write_text(data.read_text().replace('event = ["Click", "click"]', 'event = "click"'))
    assert clicks(folder) == as_one and any(as_one)


def test_init_refuses_two_spellings_of_the_view(tmp_path):
    path = shop_actions(tmp_path) / "log.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("view", "View", 100), encoding="utf-8")
    with pytest.raises(DataError, match=r"\['view', 'View'\] of 'action' mean shown"):
        write_contract([tmp_path], tmp_path)


def test_time_format_names_the_expected_format(draft, read):
    folder, text, _ = draft(shop_actions)
    text = text.replace("\nview =", '\ntime_format = "%d.%m.%Y"\nview =', 1)
    (folder / "data.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"not a time, expected the format '%d\.%m\.%Y'"):
        read(folder)


def test_init_joins_files_whose_names_differ_in_numbers(draft, read):
    def write(folder):
        path = shop_actions(folder) / "log.csv"
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        for number, part in enumerate((rows[:900], rows[900:])):
            (folder / f"log-2023-{number}.csv").write_text("\n".join([head, *part]) + "\n")
        path.unlink()
        return folder

    folder, _, toml = draft(write)
    assert toml["events"]["path"] == "log-*.csv"
    (events,) = [table for table in read(folder).report.tables if table.name == "events"]
    assert len(events.files) == 2


def test_init_takes_the_parts_of_a_split_as_one_log(draft, read):
    def write(folder):
        path = listens(folder) / "listens.csv"
        head, *rows = path.read_text().splitlines()
        for name, part in (("train", rows[:400]), ("valid", rows[400:500]), ("test", rows[500:])):
            (folder / f"listens.{name}.csv").write_text("\n".join([head, *part]) + "\n")
        path.unlink()
        return folder

    folder, _, toml = draft(write)
    names = {"train": "train", "validation": "valid", "test": "test"}
    assert toml["split"]["files"] == {part: f"listens.{name}.csv" for part, name in names.items()}
    assert not {"path"} & toml["events"].keys() and not {"users", "items"} & toml.keys()
    parts = [int((part.labels["positive"] == 1).sum()) for part in read(folder).dataset.split()]
    assert parts[1] == 100 and parts[0] < 400 < parts[0] + 100


def test_init_refuses_a_part_of_a_split_with_other_columns(tmp_path):
    path = shop_actions(tmp_path) / "log.csv"
    shutil.copy(path, tmp_path / "train.csv")
    path.unlink()
    (tmp_path / "test.csv").write_text("customer,answer\nc-001,1\nc-002,0\n")
    with pytest.raises(DataError, match=r"train\.csv, test\.csv are parts of a split"):
        write_contract([tmp_path], tmp_path)


def test_init_reads_a_decimal_comma_as_a_number(draft, read):
    def write(folder):
        shop_actions(folder)
        for path in folder.glob("*.csv"):
            text = path.read_text().replace(",", ";")
            path.write_text(text.replace(".", ",") if path.stem == "goods" else text)
        return folder

    folder, _, toml = draft(write)
    assert not {"lists"} & toml["items"].keys()
    prices = read(folder).dataset.snapshot.works["price"]
    assert prices.dtype == "float32" and 0 < prices.min() < 20 and (prices % 1 > 0).any()


def test_init_names_a_file_without_rows(tmp_path):
    for name, content in (
        ("header.csv", b"user_id,item_id,time\n"),
        ("empty.csv", b""),
        ("random.csv", b"\xa1\x00"),
    ):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="no file is a table:") as raised:
        write_contract([tmp_path], tmp_path)
    assert all(
        name in str(raised.value) for name in ("header.csv: no row", "empty.csv is empty", "random.csv")
    )


def test_init_makes_no_users_of_a_test_set(tmp_path):
    shop_actions(tmp_path)
    (tmp_path / "test.csv").write_text("customer,answer\n" + "".join(f"c-{at:03},{at}\n" for at in range(30)))
    with pytest.raises(DataError, match=r"test\.csv: not a table of the users"):
        write_contract([tmp_path], tmp_path)
    (tmp_path / "test.csv").unlink()
    answers = "".join(f"c-{at:03},SKU{at:04},1\n" for at in range(30))
    (tmp_path / "answers.csv").write_text("customer,sku,answer\n" + answers)
    with pytest.raises(DataError, match=r"answers\.csv: not a table of the users"):
        write_contract([tmp_path], tmp_path)


def test_init_reads_a_folder_as_one_table(tmp_path):
    (listens(tmp_path / "log") / "listens.csv").rename(tmp_path / "log" / "part-0.csv")
    text = write_contract([tmp_path], tmp_path)
    assert tomllib.loads(text)["events"]["path"] == "log"
