"""`karec load`, as it is typed."""

import json

import pytest
from scripted_service import good, scripted_service

from karec import cli
from karec.cli.load import users_of, warnings_of


def answered(asked):
    body = asked.json
    return {"user": body["user"], "items": [{"id": 1}]} if "user" in body else {"events": 1, "refused": {}}


@pytest.fixture
def service():
    with scripted_service() as service:
        service.answer(good(answered))
        yield service


def load(url, *arguments):
    return cli.main(["load", url, *arguments])


def test_a_run_prints_quantiles_goodput_and_statuses_and_writes_them(service, tmp_path, capsys):
    out = tmp_path / "load.json"
    options = [
        "--rate",
        "100",
        "--seconds",
        "0.5",
        "--users",
        "20",
        "--deadline-ms",
        "1000",
        "--events-share",
        "0.3",
    ]
    assert load(service.url, *options, "--connections", "4", "--even", "--out", str(out)) == 0
    told = json.loads(out.read_text())
    assert told["requests"] + told["event_requests"] == 50 == sum(told["statuses"].values())
    assert told["plan"]["rate"] == 100 and told["plan"]["arrivals"] == "even" and told["plan"]["users"] == 20
    assert sum(n for _, n in told["histogram_ms"]["service"]) == told["requests"]
    printed = capsys.readouterr().out
    for part in (
        "p99.9",
        "from the moment it was due",
        "from when it was sent",
        "goodput",
        "status 200",
        "events",
    ):
        assert part in printed
    assert f"{told['goodput_per_s']:,.1f}" in printed


def test_the_token_of_the_environment_is_sent_and_not_printed(service, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("KAREC_TOKEN", "secret-1")
    out = tmp_path / "load.json"
    assert (
        load(service.url, "--rate", "50", "--seconds", "0.1", "--users", "5", "--even", "--out", str(out))
        == 0
    )
    assert {asked.headers["authorization"] for asked in service.asked} == {"Bearer secret-1"}
    told = capfd.readouterr()
    assert "secret-1" not in told.out + told.err + out.read_text()


def test_find_peak_shows_each_rate_and_the_peak(service, tmp_path, capsys):
    """The service refuses all that it is asked after the first hundred."""
    answers = [good(answered)] * 100
    service.answer(*answers, (503, {"retry-after": "1"}, {}))
    out = tmp_path / "peak.json"
    options = [
        "--rate",
        "200",
        "--seconds",
        "0.2",
        "--users",
        "5",
        "--find-peak",
        "--even",
        "--out",
        str(out),
    ]
    assert load(service.url, *options) == 0
    told = json.loads(out.read_text())
    rates = [step["plan"]["rate"] for step in told["steps"]]
    assert len(rates) >= 4 and rates[1] == pytest.approx(280)
    assert told["peak_goodput_per_s"] == max(step["goodput_per_s"] for step in told["steps"])
    assert f"Peak goodput: {told['peak_goodput_per_s']:,.1f} feeds a second" in capsys.readouterr().out


def test_nobody_there_is_an_error_with_a_word(capsys):
    assert load("http://127.0.0.1:1", "--rate", "5", "--users", "5", "--seconds", "0.1") == 2
    assert "karec load: 127.0.0.1:1: " in capsys.readouterr().err


BAD = [
    (["--rate", "0"], "0 is not above 0"),
    (["--rate", "-5"], "-5 is not above 0"),
    (["--rate", "nan"], "nan is no finite number"),
    (["--rate", "inf"], "inf is no finite number"),
    (["--rate", "many"], "'many' is no number"),
    (["--connections", "0"], "0 is less than 1"),
    (["--k", "ten"], "'ten' is no whole number"),
    (["--minutes", "0"], "0 is not above 0"),
    (["--minutes", "1", "--seconds", "1"], "not allowed with argument"),
    (["--slack-ms", "-1"], "-1 is less than 0"),
    (["--slack-ms", "nan"], "nan is no finite number"),
]


@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_is_no_option_is_refused_by_name(options, said, capsys):
    with pytest.raises(SystemExit):
        load(
            "http://127.0.0.1:1", "--users", "5", *([] if "--rate" in options else ["--rate", "5"]), *options
        )
    told = capsys.readouterr().err
    assert said in told and options[-2] in told


@pytest.mark.parametrize("share", ["-0.1", "1", "1.5", "nan"])
def test_a_share_of_events_leaves_feeds_to_report_on(share, capsys):
    assert load("http://127.0.0.1:1", "--users", "5", "--rate", "5", "--events-share", share) == 2
    assert "--events-share" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "options", "told"),
    [
        ("http://127.0.0.1:1", ["--rate", "1e9"], "--rate 1e+09 for 10 s are 1e+10 requests"),
        ("http://127.0.0.1:1", ["--rate", "5", "--out", "/nowhere/load.json"], "--out /nowhere/load.json: "),
        ("http://nowhere.invalid", ["--rate", "5"], "nowhere.invalid:80: "),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_it_begins(url, options, told, capfd):
    assert load(url, "--users", "5", *options) == 2
    said = capfd.readouterr().err
    assert told in said and "never retrieved" not in said


def test_users_are_a_number_a_range_or_a_file(tmp_path):
    assert list(users_of("3")) == [1, 2, 3]
    assert list(users_of("7-9")) == [7, 8, 9]
    numbers, texts = tmp_path / "numbers.txt", tmp_path / "texts.txt"
    numbers.write_text("5\n\n 6 \n")
    texts.write_text("5\nc-6\n")
    assert users_of(str(numbers)) == [5, 6] and users_of(str(texts)) == ["5", "c-6"]


@pytest.mark.parametrize("text", ["nobody.txt", "5-", "-5", "", "9-7", "0"])
def test_users_that_are_none_are_refused_by_name(text):
    with pytest.raises(ValueError, match=f"--users {text}: "):
        users_of(text)


def test_an_empty_file_of_users_is_refused(tmp_path):
    (tmp_path / "users.txt").touch()
    with pytest.raises(ValueError, match="there is no user"):
        users_of(str(tmp_path / "users.txt"))


def test_what_makes_figures_doubtful_is_said_loudly():
    generator = {"fell_behind": True, "late_share": 0.2, "cpu_share": 0.97}
    report = {"plan": {"rate": 12_000}, "generator": generator, "statuses": {"200": 5, "wrong answer": 2}}
    behind, wrong = warnings_of(report)
    assert behind.startswith("WARNING: at 12,000 requests a second the generator itself fell behind: 20.0%")
    assert "2 answers with status 200 were not what was asked" in wrong
