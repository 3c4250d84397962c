"""Tables of item and value: an item has its most frequent values."""

import random
from collections import Counter, defaultdict

import pytest
from own_files import write_log

TOML = """\
[events]
path = "log.csv"
columns = { user = "who", item = "what" }
[split]
by = "user"
[items]
path = "items.csv"
id = "id"
roles = { tag = "tags" }
[items.values.tags]
path = "tagged.csv"
columns = { item = "item", value = "tag" }
"""
NAMES = """\
[items.values.tags.names]
path = "tags.csv"
id = "tag"
name = "called"
quoted = false
"""


@pytest.fixture
def tagged(tmp_path):
    generator = random.Random(3)
    write_log(
        tmp_path, [(f"u{u}", (u + at) % 12) for u in range(20) for at in range(10)], head=("who", "what")
    )
    write_log(tmp_path, [(item,) for item in range(12)], head=("id",), name="items")
    # items 12 and 13 are unknown
    rows = [(generator.randrange(14), generator.randrange(6)) for _ in range(80)]
    write_log(tmp_path, rows, head=("item", "tag"), name="tagged")
    write_log(tmp_path, [(tag, f'the "{tag}') for tag in range(6)], head=("tag", "called"), name="tags")
    (tmp_path / "tags.csv").write_text("tag,called\n" + "".join(f'{tag},the "{tag}\n' for tag in range(6)))
    return tmp_path, rows


def expected(rows):
    counts = defaultdict(Counter)
    for item, tag in rows:
        counts[item][tag] += 1
    best = {item: sorted(of, key=lambda tag: (-of[tag], str(tag)))[:3] for item, of in counts.items()}
    return [best.get(item, []) for item in range(12)]


def found_of(dataset):
    works = dataset.snapshot.works
    names = dataset.snapshot.labels["tag"]
    columns = [works[name] for name in ("tag", "tag2", "tag3")]
    return [[names[code] for code in codes if code >= 0] for codes in zip(*columns, strict=True)]


def test_item_has_its_most_frequent_values(read, tagged):
    folder, rows = tagged
    (folder / "data.toml").write_text(TOML)
    result = read(folder)
    assert found_of(result.dataset) == [[str(tag) for tag in tags] for tags in expected(rows)]
    unknown = sum(item >= 12 for item, _ in rows)
    message = next(table for table in result.report.tables if table.name == "items.values.tags")
    assert (message.rows, message.kept) == (80, 80 - unknown)
    assert {cause: reason.count for cause, reason in message.left_out.items()} == {
        "the item is not in items": unknown
    }
    assert any("items.values.tags: 80 rows read" in note for note in result.dataset.notes)


def test_user_counts_once_for_an_item_and_a_value(read, tagged):
    folder, _ = tagged
    rows = [(0, 1, "a"), (0, 1, "a"), (0, 1, "a"), (0, 2, "a"), (0, 2, "b"), (1, 3, "a")]
    write_log(folder, rows, head=("item", "tag", "name"), name="tagged")
    (folder / "data.toml").write_text(TOML.replace('value = "tag"', 'value = "tag", user = "name"'))
    result = read(folder)
    assert found_of(result.dataset)[:2] == [["2", "1"], ["3"]]
    message = next(table for table in result.report.tables if table.name == "items.values.tags")
    assert message.kept == 4
    assert {cause: reason.count for cause, reason in message.left_out.items()} == {
        "one user, item and value with another row": 2
    }


def test_values_and_their_names_are_checked(refused, tagged):
    folder, _ = tagged
    checked = TOML + 'checks = [{ columns = ["tag"], holds = "integer", within = [0, 4] }]\n'
    (folder / "data.toml").write_text(checked)
    assert "tagged.csv:" in refused(folder) and "not within 0 … 4" in refused(folder)
    named = NAMES + 'checks = [{ columns = ["called"], holds = "text", matches = "x" }]\n'
    (folder / "data.toml").write_text(TOML + named)
    assert "tags.csv:2" in refused(folder) and "not of the form x" in refused(folder)


def test_values_have_names_with_quotes(read, tagged):
    folder, rows = tagged
    (folder / "data.toml").write_text(TOML + NAMES)
    assert found_of(read(folder).dataset) == [[f'the "{tag}' for tag in tags] for tags in expected(rows)]


def test_value_without_a_name_is_refused(refused, tagged):
    folder, _ = tagged
    (folder / "tags.csv").write_text("tag,called\n0,zero\n")
    (folder / "data.toml").write_text(TOML + NAMES)
    assert "tagged.csv:" in refused(folder) and "is not in names" in refused(folder)


def test_value_with_two_names_is_refused(refused, tagged):
    folder, _ = tagged
    with (folder / "tags.csv").open("a") as file:
        file.write("3,again\n")
    (folder / "data.toml").write_text(TOML + NAMES)
    assert "tags.csv:8" in refused(folder) and "appears twice" in refused(folder)
