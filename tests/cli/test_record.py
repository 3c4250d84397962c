"""Tests of ``karec ingest``: events of an operator act in a service that runs."""

import io
import json

import numpy as np
import pytest
from live_bundle import live_config, named

from karec.bundle import Bundle
from karec.cli import main
from karec.config import open_hot_swap


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return live_config(tmp_path_factory.mktemp("told"))


@pytest.fixture
def rows(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return str(path)

    return write


def test_recorded_events_act_in_a_service_that_runs(path, rows, capsys, monkeypatch):
    with open_hot_swap(path) as live:
        index = live.cascades["home"].bundle.index
        one, two = live.cascades["home"].bundle.snapshot.works.ids[:2].tolist()
        assert main(["ingest", str(path), rows({"event": "adjust", "item_id": one, "offset": 2.5})]) == 0
        assert "1 events are stored" in capsys.readouterr().out
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"event": "block", "item_id": two}) + "\n"))
        assert main(["ingest", str(path)]) == 0
        live.record([])  # polls the store
        assert index.scores(np.zeros(index.dim), ids=[one, two]).tolist() == [2.5, -np.inf]


def test_invalid_rows_are_counted_by_reason_and_others_stored(path, rows, capsys):
    given = rows({"event": "block", "item_id": 105}, "{", {"event": "ban"}, {"event": "block"}, "[1]")
    assert main(["ingest", str(path), given]) == 2
    told = capsys.readouterr()
    assert "1 events are stored" in told.out
    assert told.err.startswith("karec ingest: not stored: ") and told.err.count("\n") == 1
    for why in ("a line is not JSON 1", "unknown event 1", "item_id is missing 1", "a row is not a table 1"):
        assert why in told.err


def test_config_without_a_store_is_refused(path, tmp_path, capsys):
    text = path.read_text().replace('"bundles"', f'"{path.parent / "bundles"}"')
    (tmp_path / "karec.toml").write_text(text[: text.index("[online]")] + text[text.index("[scenes.home]") :])
    assert main(["ingest", str(tmp_path / "karec.toml")]) == 2
    assert "has no table [online]" in capsys.readouterr().err


def test_ids_are_those_of_the_platform(tmp_path, rows):
    path = live_config(tmp_path / "named", ids=named(tmp_path / "named"))
    assert main(["ingest", str(path), rows({"event": "block", "item_id": "w100"})]) == 0
    bundle = Bundle.open(path.parent / "bundles")
    with open_hot_swap(path) as live:
        number = int(bundle.naming.items.numbers(["w100"])[0])
        index = live.cascades["home"].bundle.index
        assert index.scores(np.zeros(index.dim), ids=[number]).tolist() == [-np.inf]
