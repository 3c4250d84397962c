"""One finished `karec demo` and its files, for the tests of this folder."""

import json
from contextlib import redirect_stdout
from dataclasses import replace

import pytest
from small_job import WORLD

import karec
from karec import cli
from karec.bundle import Bundle
from karec.lab.demo import three_days
from karec.pipeline.types import Request

# The scene home without exposure control: a page does not depend on earlier pages.
STILL = """
[scenes.still]
inherits = "home"
exposure = false
"""


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """The folder of a finished `karec demo` on 2,000 works; 60 users come on the simulated days.

    screen.txt has what it printed.
    """
    out = tmp_path_factory.mktemp("job")
    settings = out / "train.toml"
    settings.write_text('ranker = { kind = "mmoe", epochs = 1 }\n')
    arguments = [*WORLD, "--requests", "12", "--out", str(out), "--report", str(out / "report")]
    with (
        pytest.MonkeyPatch.context() as patch,
        open(out / "screen.txt", "w", encoding="utf-8") as screen,
        redirect_stdout(screen),
    ):
        patch.setattr(three_days, "PART", replace(three_days.PART, users=60))
        code = cli.main(["demo", *arguments, "--scene", "all", "--settings", str(settings)])
    assert code == 0
    return out


@pytest.fixture(scope="session")
def report(job):
    return json.loads((job / "report" / "report.json").read_text())


@pytest.fixture(scope="session")
def bundle(job):
    return Bundle.open(job / "bundles")


@pytest.fixture(scope="session")
def cascade(job):
    with karec.open(job / "karec.toml", scene="home") as cascade:
        yield cascade


@pytest.fixture(scope="session")
def still(job):
    config = job / "still.toml"
    config.write_text((job / "karec.toml").read_text() + STILL)
    with karec.open(config, scene="still") as cascade:
        yield cascade


@pytest.fixture(scope="session")
def shadowed(job, bundle):
    """(config, pages): every request is a shadow request, logged to a folder of its own."""
    config = job / "shadowed.toml"
    text = (job / "karec.toml").read_text()
    assert "share = 0.02, at_most = 10_000" in text
    config.write_text(
        text.replace("share = 0.02", "share = 1.0").replace('folder = "rank_log"', 'folder = "shadow_log"')
        + STILL
    )
    with karec.open(config, scene="still") as cascade:
        users = bundle.snapshot.users.ids[:6]
        pages = [
            cascade.run(Request(int(user), scene="still", time_ms=bundle.snapshot.time_ms)) for user in users
        ]
    return config, pages
