"""A small bundle with a karec.toml and an experiments.toml of two layers."""

import pytest
from live_bundle import TEXT
from small_bundle import publish_small_bundle
from two_experiments import EXPERIMENTS


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
