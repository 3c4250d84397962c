"""Services of the small bundle, one for the whole package."""

import pytest
from live_bundle import live_config, named
from running_service import RunningService, with_serve_table

from karec.bundle import Bundle


@pytest.fixture(scope="package")
def config(tmp_path_factory):
    path = live_config(tmp_path_factory.mktemp("serve"))
    rows = '{ use = "index_rows" }'
    path.write_text(path.read_text().replace(rows, rows + ', { use = "not_shown" }'))
    return with_serve_table(path, "max_queue_ms = 60_000")  # a machine under load refuses nothing


@pytest.fixture(scope="package")
def service(config):
    with RunningService(config, "--workers", "2") as running:
        yield running


@pytest.fixture(scope="package")
def service_with_text_ids(tmp_path_factory):
    """Ids are strings, and there is no table `live`."""
    folder = tmp_path_factory.mktemp("texts")
    path = live_config(folder, ids=named(folder))
    head, _, rest = path.read_text().partition("[online]")
    path.write_text(head + "[scenes.home]" + rest.partition("[scenes.home]")[2])
    with RunningService(path) as running:
        yield running


@pytest.fixture(scope="package")
def snapshot(config):
    return Bundle.open(config.parent / "bundles", verify=False).snapshot
