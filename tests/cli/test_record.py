"""``karec record``: what an operator tells is in the log of a service, which has it at its next look."""

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


def test_what_is_told_is_in_the_index_of_a_service_that_runs(path, rows, capsys, monkeypatch):
    with open_hot_swap(path) as live:
        index = live.cascades["home"].bundle.index
        one, two = live.cascades["home"].bundle.snapshot.works.ids[:2].tolist()
        assert main(["record", str(path), rows({"kind": "adjust", "work": one, "offset": 2.5})]) == 0
        assert "1 in the log" in capsys.readouterr().out
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"kind": "block", "work": two}) + "\n"))
        assert main(["record", str(path)]) == 0
        live.record([])  # follows the log
        assert index.scores(np.zeros(index.dim), ids=[one, two]).tolist() == [2.5, -np.inf]


def test_rows_that_are_no_events_are_told_by_reason_and_the_others_are_in_the_log(path, rows, capsys):
    given = rows({"kind": "block", "work": 105}, "{", {"kind": "ban", "work": 1}, {"kind": "block"}, "[1]")
    assert main(["record", str(path), given]) == 2
    told = capsys.readouterr()
    assert "1 in the log" in told.out
    assert told.err.startswith("karec record: not in the log: ") and told.err.count("\n") == 1
    for why in ("a line is no JSON 1", "unknown kind 1", "no work 1", "a row is no table 1"):
        assert why in told.err


def test_without_a_log_it_says_what_is_missing(path, tmp_path, capsys):
    text = path.read_text().replace('"bundles"', f'"{path.parent / "bundles"}"')
    (tmp_path / "karec.toml").write_text(text[: text.index("[live]")] + text[text.index("[scenes.home]") :])
    assert main(["record", str(tmp_path / "karec.toml")]) == 2
    assert "has no table [live]" in capsys.readouterr().err


def test_ids_are_the_platforms(tmp_path, rows):
    path = live_config(tmp_path / "named", ids=named(tmp_path / "named"))
    assert main(["record", str(path), rows({"kind": "block", "work": "w100"})]) == 0
    bundle = Bundle.open(path.parent / "bundles")
    with open_hot_swap(path) as live:
        number = int(bundle.naming.items.numbers(["w100"])[0])
        index = live.cascades["home"].bundle.index
        assert index.scores(np.zeros(index.dim), ids=[number]).tolist() == [-np.inf]
