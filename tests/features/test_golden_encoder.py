"""The golden encoder gives the stored inputs. Other formats are refused by name."""

import json
import zipfile

import numpy as np
import pytest
from golden_platform import ENCODERS, golden_encoder, golden_inputs, golden_snapshot

from karec.errors import BundleError
from karec.features.encoder import FORMAT, Encoder

GOLDEN = ENCODERS / f"encoder-{FORMAT}.npz"


def test_golden_encoder_gives_the_stored_inputs():
    encoder = Encoder.load(GOLDEN)
    assert (encoder.names, encoder.sizes) == (golden_encoder().names, golden_encoder().sizes)
    result = golden_inputs(encoder, golden_snapshot())
    with np.load(ENCODERS / "inputs.npz") as stored:
        assert result.keys() == set(stored)
        for name, value in result.items():
            assert value.dtype == stored[name].dtype
            np.testing.assert_allclose(value, stored[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert any(value.dtype == np.float32 and value.any() for value in result.values())
    affinity = encoder.names["crosses"].index("affinity_creator_id")
    assert encoder.names["crosses"][-1] == "log_position" and result["5.crosses"][:, affinity].any()


def test_saved_encoder_has_the_contents_of_the_golden_file(tmp_path):
    golden_encoder().save(tmp_path / "encoder.npz")
    with np.load(tmp_path / "encoder.npz") as written, np.load(GOLDEN) as golden:
        assert set(written) == set(golden)
        for name in set(golden) - {"head"}:
            np.testing.assert_array_equal(written[name], golden[name], err_msg=name)
        heads = [json.loads(arrays["head"].tobytes()) for arrays in (written, golden)]
    assert heads[0].keys() == heads[1].keys() and heads[0]["format"] == heads[1]["format"] == FORMAT


def test_load_refuses_a_newer_format(tmp_path):
    with np.load(GOLDEN) as arrays:
        content = dict(arrays)
    head = json.loads(content.pop("head").tobytes()) | {"format": FORMAT + 1}
    np.savez(tmp_path / "newer.npz", head=np.frombuffer(json.dumps(head).encode(), np.uint8), **content)
    with pytest.raises(BundleError, match=f"encoder format {FORMAT + 1}, expected {FORMAT}"):
        Encoder.load(tmp_path / "newer.npz")


def test_load_refuses_truncated_and_altered_encoders(tmp_path):
    """A part with a wrong checksum once raised an error of zipfile, which no caller expects."""
    whole = GOLDEN.read_bytes()
    with zipfile.ZipFile(GOLDEN) as archive:
        inside = archive.getinfo("head.npy").header_offset + 200
    altered = bytearray(whole)
    altered[inside] ^= 1
    for content in (whole[: len(whole) // 2], whole[:-1], b"", bytes(altered)):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(BundleError, match="is not an encoder"):
            Encoder.load(tmp_path / "damaged.npz")
