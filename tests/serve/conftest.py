"""One service of the small bundle for the tests of a module."""

import pytest
from live_bundle import live_config, named
from running_service import RunningService

from karec.bundle import Bundle


@pytest.fixture(scope="package")
def config(tmp_path_factory):
    path = live_config(tmp_path_factory.mktemp("serve"), state="state")
    rows = '{ use = "index_rows" }'
    text = path.read_text(encoding="utf-8").replace(rows, rows + ', { use = "not_shown" }')
    # a machine under load refuses nothing; test_admission has its own
    patient = "[serve]\nwait_ms = 60_000\n[live]"
    path.write_text(text.replace("[live]", patient), encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def service(config):
    with RunningService(config, "--workers", "2") as running:
        yield running


@pytest.fixture(scope="package")
def of_texts(tmp_path_factory):
    """A service of a platform whose ids are texts, without a table ``live``."""
    folder = tmp_path_factory.mktemp("texts")
    path = live_config(folder, ids=named(folder))
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("[live]")
    path.write_text(head + "[scenes.home]" + rest.partition("[scenes.home]")[2], encoding="utf-8")
    with RunningService(path) as running:
        yield running


@pytest.fixture(scope="package")
def snapshot(config):
    return Bundle.open(config.parent / "bundles", verify=False).snapshot
