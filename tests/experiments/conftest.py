"""A small bundle with a karec.toml and an experiments.toml of two layers."""

import shutil

import pytest
from live_bundle import TEXT, named
from small_bundle import publish_small_bundle
from two_experiments import EXPERIMENTS
from two_models import HOUR_MS, publish_models, write_config

from karec.config.open import open_hot_swap


@pytest.fixture(scope="package")
def bundle_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    publish_small_bundle(folder)
    return folder / "bundles"


@pytest.fixture
def write_experiments(tmp_path, bundle_folder):
    """Writes experiments.toml with the replacements {old: new} next to a karec.toml and returns its path."""
    head, _, rest = TEXT.format(url="", more="").partition("[online]")
    scenes = rest[rest.index("[scenes.home]") :]
    head = head.replace('"bundles"', f'"{bundle_folder}"') + 'experiments = "experiments.toml"\n'

    def write(replacements=None, text=EXPERIMENTS, more=""):
        for old, new in (replacements or {}).items():
            assert old in text, old
            text = text.replace(old, new, 1)
        (tmp_path / "experiments.toml").write_text(text, encoding="utf-8")
        path = tmp_path / "karec.toml"
        path.write_text(head + scenes + more, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="package")
def two_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_models")
    bundle = publish_small_bundle(folder, ids=named(folder))
    publish_models(bundle, folder / "other", 2)
    return folder


@pytest.fixture
def folder_of_models(two_models, tmp_path):
    for name in ("bundles", "other"):
        shutil.copytree(two_models / name, tmp_path / name, symlinks=True)
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def live(folder_of_models):
    with open_hot_swap(folder_of_models / "karec.toml", None) as live:
        yield live


@pytest.fixture
def now(live):
    return live.cascades["home"].bundle.snapshot.time_ms + HOUR_MS
