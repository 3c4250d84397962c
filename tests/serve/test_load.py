"""karec load on a service that runs."""

import json

from karec import cli


def test_a_load_of_feeds_and_events_is_answered(service, config, tmp_path, capsys):
    out = tmp_path / "load.json"
    options = ["--rate", "60", "--seconds", "1", "--users", str(config), "--scene", "home", "--k", "5"]
    assert cli.main(["load", service.url, *options, "--events-share", "0.3", "--out", str(out)]) == 0
    told = json.loads(out.read_text())
    # a busy machine may refuse some
    assert set(told["statuses"]) <= {"200", "503"} and told["statuses"]["200"] > 10
    assert told["event_requests"] > 0 and told["events_refused"] == {}
    assert told["plan"]["users"] > 3 and told["latency_ms"]["service"]["max"] > 0
    assert "answered, from the moment it was due" in capsys.readouterr().out


def test_users_with_texts_as_ids_are_drawn_by_them(of_texts, config, tmp_path):
    out = tmp_path / "load.json"
    users = tmp_path / "users.txt"
    users.write_text("u1\nu2\n")
    assert (
        cli.main(
            [
                "load",
                of_texts.url,
                "--rate",
                "40",
                "--seconds",
                "0.5",
                "--users",
                str(users),
                "--out",
                str(out),
            ]
        )
        == 0
    )
    told = json.loads(out.read_text())
    assert set(told["statuses"]) <= {"200", "503"} and told["goodput_per_s"] > 0
