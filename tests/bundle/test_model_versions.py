"""Every part of a bundle has the bundle's model version, so vectors of two versions are never mixed."""

import re

import numpy as np
import pytest
from small_tower import write_user_tower

from karec.bundle import Bundle, publish_folder
from karec.errors import BundleError
from karec.index import ItemIndex

MODELS = ("user_tower", "item_tower", "ranker")


def publish_at_7(root, index=7, **models):
    """Publishes a bundle of version 7 whose parts have the given versions."""

    def write(folder):
        ItemIndex.build(np.arange(3), np.eye(3), model_version=index).save(folder / "index.karec")
        for name in MODELS:
            write_user_tower(folder / f"{name}.onnx", models.get(name, 7), 3)

    publish_folder(root, 7, write)
    return Bundle.open(root, verify=False)  # its item tower and ranker are user towers, which could not serve


def test_parts_of_the_bundles_version_open(tmp_path):
    bundle = publish_at_7(tmp_path)
    assert {bundle.index.model_version, *(getattr(bundle, name).model_version for name in MODELS)} == {7}


@pytest.mark.parametrize("version", [6, 8])
@pytest.mark.parametrize(
    ("part", "file"), [("index", "index.karec"), *((name, f"{name}.onnx") for name in MODELS)]
)
def test_part_of_another_version_is_refused_with_its_file(tmp_path, part, file, version):
    message = f"{tmp_path / 'v0000000007' / file} is of model version {version}, its bundle of 7"
    with pytest.raises(BundleError, match="^" + re.escape(message) + "$"):
        getattr(publish_at_7(tmp_path, **{part: version}), part)
