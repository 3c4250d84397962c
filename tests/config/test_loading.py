"""Loaders of a karec.toml: all scenes or one stage, with the bundle of the config or a given one."""

from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import karec
from karec.bundle import Bundle
from karec.config import load_cascade, load_cascades, open_bundle
from karec.config.assemble import build_stage
from karec.config.host_stage import check_export, export_stages
from karec.config.scenes import Config
from karec.errors import BundleError, ConfigError
from karec.index import IndexSchema
from karec.pipeline.step import Filter

TEXT = f"""
bundle = "bundles"
[scenes.home]
limits = {{ recall = 8 }}
recall = [{{ use = "popular", quota = 8 }}]
[[scenes.home.stages]]
name = "prerank"
steps = [{{ use = "index_rows" }}, {{ use = "quota", column = "creator_id", at_most = 2 }}]
[[scenes.home.stages]]
name = "rank"
steps = [{{ use = "{__name__}:Looks" }}, {{ use = "top_k" }}]
[scenes.city]
inherits = "home"
"""


class Looks(Filter):
    """Keeps all candidates and stores its constructor arguments."""

    def __init__(self, schema: IndexSchema, config_folder: Path) -> None:
        self.schema = schema
        self.config_folder = config_folder

    def keep(self, request, candidates):
        return np.ones(len(candidates), bool)


@pytest.fixture
def path(write_config):
    return write_config(TEXT)


@pytest.fixture
def bundle(path):
    """A given bundle. The config names another one that does not exist."""
    path.write_text(TEXT.replace('"bundles"', '"absent"'))
    return Bundle.open(path.parent / "bundles")


def test_load_cascades_keeps_file_order_and_shares_one_bundle(path):
    cascades = load_cascades(path)
    assert list(cascades) == ["home", "city"]
    assert all(cascade.bundle is open_bundle(path) for cascade in cascades.values())
    assert cascades["city"].scene == "city"


def test_loaders_use_a_given_bundle_instead_of_that_of_the_config(path, bundle):
    cascades = load_cascades(path, bundle)
    assert [cascade.bundle for cascade in cascades.values()] == [bundle, bundle]
    assert load_cascade(path, "city", bundle).bundle is bundle
    assert build_stage(Config.read(path), "home", "rank", bundle).steps[0].schema is bundle.index.schema
    exported = path.parent / "prerank.json"
    export_stages(path, "home", ["prerank"], exported, bundle)
    check_export(path, "home", exported, bundle)
    for load in (load_cascades, open_bundle):
        with pytest.raises(BundleError, match="absent"):
            load(path)


def test_build_stage_builds_the_same_stage_as_the_cascade(path):
    bundle = open_bundle(path)
    stage = build_stage(Config.read(path), "city", "rank")
    assert stage.name == "rank" and [step.name for step in stage.steps] == ["Looks", "top_k"]
    assert stage.steps[0].schema is bundle.index.schema
    assert stage.steps[0].config_folder == path.parent
    assert karec.open(path).stages[1].steps[0].config_folder == path.parent


def test_build_stage_refuses_an_unknown_or_wrong_stage_with_its_place(path):
    with pytest.raises(
        ConfigError,
        match=r"scenes\.city \(inherits home\)\.stages: no stage 'prernk' \(did you mean 'prerank'\?\); "
        r"there are \['prerank', 'rank'\]$",
    ):
        build_stage(Config.read(path), "city", "prernk")
    path.write_text(TEXT.replace('name = "rank"\n', 'name = "rank"\nstep = 1\n'))
    with pytest.raises(ConfigError, match=r"scenes\.home\.stages\[1\]: unknown key 'step'"):
        build_stage(Config.read(path), "home", "rank")


@pytest.mark.parametrize(
    "load",
    [
        open_bundle,
        load_cascades,
        karec.open,
        lambda path: load_cascade(path, "home"),
        lambda path: export_stages(path, "home", ["prerank"], path.parent / "prerank.json"),
    ],
)
def test_config_with_a_bundle_key_refuses_an_unsigned_bundle(path, load):
    public = Ed25519PrivateKey.generate().public_key()
    (path.parent / "key.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    path.write_text('bundle_key = "key.pem"\n' + TEXT)
    with pytest.raises(BundleError, match="sign"):
        load(path)


def test_request_has_the_time_of_the_snapshot_without_an_online_store(path, bundle):
    cascade = load_cascade(path, "home", bundle)
    assert cascade.run(karec.Request(3)).request.time_ms == bundle.snapshot.time_ms
    assert cascade.run(karec.Request(3, time_ms=9)).request.time_ms == 9
