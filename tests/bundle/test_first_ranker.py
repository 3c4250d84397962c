"""A bundle may have a first ranker beside its ranker; it is checked and replayed as the ranker is."""

import shutil

import onnx
import pytest
from harmful_models import ENDLESS, constant, endless, write_damaged
from small_bundle import TASKS

from karec.bundle import Bundle, publish
from karec.bundle.replay_process import Caps, replay_in_child
from karec.errors import BundleError
from karec.learn.export.onnx_export import copy_as_version

FIRST = "ranker_first.onnx"


@pytest.fixture
def published(good, tmp_path):
    """Publishes the good bundle with what ``change`` does to its folder. The folder."""

    def of(change):
        def write(folder):
            shutil.copytree(good, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.*"))
            change(folder)

        return publish(tmp_path / "bundles", 1, write)

    return of


def as_the_ranker(folder):
    shutil.copyfile(folder / "ranker.onnx", folder / FIRST)


def test_a_bundle_without_one_serves_as_ever(good):
    assert Bundle.open(good).first_ranker is None


def test_a_bundle_with_one_gives_it_once(published):
    bundle = Bundle.open(published(as_the_ranker))
    assert bundle.first_ranker.tasks == TASKS and bundle.first_ranker.path.name == FIRST
    assert bundle.first_ranker is bundle.first_ranker is not bundle.ranker


def test_one_that_never_ends_is_stopped_and_named(published):
    def damage(folder):
        nodes = endless("logits")
        for node in nodes:
            node.input[:] = ["item_numbers" if each == "user_numbers" else each for each in node.input]
        constants = {**constant(1, len(TASKS)), **ENDLESS}
        write_damaged(
            folder / FIRST,
            nodes,
            "logits",
            constants=constants,
            n=len(TASKS),
            given="item_numbers",
            kind="ranker",
        )

    with pytest.raises(BundleError, match=rf"{FIRST} does not end in a replayed request"):
        replay_in_child(published(damage), Caps(seconds=0.1, bytes=256 << 20))


def test_one_that_cannot_serve_is_refused_before_it_runs(published):
    def other_output(folder):
        model = onnx.load(folder / "ranker.onnx")
        model.graph.output[0].name = "scores"
        onnx.save_model(model, str(folder / FIRST))

    with pytest.raises(BundleError, match=rf"{FIRST} has no output 'logits'"):
        Bundle.open(published(other_output))


def test_one_of_a_later_version_than_the_bundle_is_refused(published):
    with pytest.raises(BundleError, match=rf"{FIRST}.*version"):
        Bundle.open(published(lambda folder: copy_as_version(folder / "ranker.onnx", folder / FIRST, 9)))
