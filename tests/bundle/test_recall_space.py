"""A bundle with recall's own vectors, whole and with damaged parts of that space."""

import shutil

import numpy as np
import pytest
from damage import Damage, make, rewrite_file
from damaged_indices import vectors
from harmful_models import a_row_of, constant, write_damaged
from small_bundle import DIM, RECALL_DIM, publish_small_bundle, without_spaces
from small_tower import write_user_tower

from karec.bundle import Bundle, publish_folder
from karec.errors import BundleError
from karec.index import ItemIndex

RECALL, USER, ITEM = "recall.karec", "recall_user_tower.onnx", "recall_item_tower.onnx"


@pytest.fixture(scope="module")
def spaced(tmp_path_factory):
    return without_spaces(publish_small_bundle(tmp_path_factory.mktemp("spaced"), recall=True))


def index_of(dim=RECALL_DIM, version=1, shift=0):
    def put(folder):
        ids = np.load(folder / "snapshot" / "works" / "ids.npy")
        ids[-1] += shift
        (folder / RECALL).unlink()
        ItemIndex.build(ids, np.ones((len(ids), dim), np.float32), model_version=version).save(
            folder / RECALL
        )

    return put


def renamed(folder):
    shutil.copyfile(folder / USER, folder / "recall_user_tower.v0000000009.onnx")


def not_a_number(folder):
    """Writes a tower with the expected declaration that returns NaN (√−1)."""
    nodes = [*a_row_of("below", name="user_numbers"), *(_sqrt("below", "user_vector"),)]
    write_damaged(
        folder / USER,
        nodes,
        "user_vector",
        constants=constant(-1, RECALL_DIM),
        n=RECALL_DIM,
        kind="recall_user_tower",
    )


def _sqrt(given, output):
    from onnx import helper

    return helper.make_node("Sqrt", [given], [output])


DAMAGES = {
    "an index cut short": rewrite_file(RECALL, lambda whole: whole[:-64], RECALL),
    "an index that is none": rewrite_file(RECALL, lambda whole: b"\1" * len(whole), RECALL),
    "a vector with NaN": rewrite_file(RECALL, vectors(np.nan), "is not finite"),
    "an index of another version": Damage(index_of(version=3), RECALL, "of model version 3, its bundle of 1"),
    "an index of another width": Damage(
        index_of(dim=7), ITEM, r"item_vector is float32 \(17, 6\), expected float32 \(17, 7\)"
    ),
    "a work that the item index lacks": Damage(index_of(shift=2**40), RECALL, "index.karec has no work"),
    "no user tower": Damage(
        lambda folder: (folder / USER).unlink(), RECALL, "recall_user_tower.onnx is missing"
    ),
    "no item index": Damage(
        lambda folder: (folder / "index.karec").unlink(), RECALL, "index.karec is missing"
    ),
    "a user tower cut short": rewrite_file(USER, lambda whole: whole[:-9], USER),
    "a user tower of another version": Damage(
        lambda folder: write_user_tower(folder / USER, 4, RECALL_DIM) and None, USER, "of model version 4"
    ),
    "a tower that says another version": Damage(
        renamed, "recall_user_tower.v0000000009.onnx", r"called recall_user_tower\.vN\.onnx"
    ),
    "a tower that gives NaN": Damage(not_a_number, USER, "user_vector is not finite"),
}


def test_recall_index_has_the_works_of_the_item_index(spaced):
    bundle = Bundle.open(spaced)
    assert (bundle.index.dim, bundle.recall_index.dim) == (DIM, RECALL_DIM)
    assert bundle.recall_index.ids.tolist() == bundle.index.ids.tolist()
    assert not bundle.recall_index.columns and bundle.index.columns
    assert list(bundle.recall_user_towers) == list(bundle.user_towers) == [1]
    assert bundle.recall_user_towers[1].path.name == USER


def test_recall_index_has_vectors_of_the_recall_tower(spaced):
    bundle = Bundle.open(spaced)
    items = bundle.encoder.encode_items(bundle.snapshot, np.arange(40), bundle.snapshot.time_ms)
    from karec.models.onnx_model import OnnxModel

    (expected,) = OnnxModel(spaced / ITEM).run(items, "item_vector")
    rows = bundle.recall_index.lookup(np.asarray(bundle.snapshot.works.ids))
    np.testing.assert_allclose(bundle.recall_index.embeddings(rows), expected, atol=1e-3)


def test_bundle_without_recall_space_has_no_recall_index(good):
    bundle = Bundle.open(good)
    assert bundle.recall_index is None and not bundle.recall_user_towers
    assert not (good / RECALL).exists()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_recall_part_is_refused_with_file_and_reason(spaced, tmp_path, name):
    damage = DAMAGES[name]
    with pytest.raises(BundleError, match=damage.reason) as refused:
        Bundle.open(make(damage, spaced, tmp_path))
    assert str(refused.value).isprintable() and damage.file in str(refused.value)


def test_recall_user_towers_are_separate_from_user_towers(spaced, tmp_path):
    def write(folder):
        shutil.copytree(spaced, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.*"))
        write_user_tower(folder / "recall_user_tower.v0000000009.onnx", 9, RECALL_DIM)

    publish_folder(tmp_path, 1, write)
    # this tower reads two numbers of a user, the encoder gives others
    bundle = Bundle.open(tmp_path, verify=False)
    assert sorted(bundle.recall_user_towers) == [1, 9] and sorted(bundle.user_towers) == [1]
