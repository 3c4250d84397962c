"""A bundle signed by its publisher opens with the publisher's public key, and nothing else does."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import karec
from karec.bundle import Bundle, publish_folder
from karec.config import open_bundle
from karec.errors import BundleError
from karec.index import ItemIndex

OPENSSL = shutil.which("openssl")


def make_pair(folder, name):
    """(private, public): PEM files of a new ed25519 pair."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return make_pair(folder, "publisher"), make_pair(folder, "stranger")


@pytest.fixture
def write(platform):
    return lambda folder: platform.save(folder / "snapshot")


@pytest.fixture
def signed(tmp_path, write, keys):
    return publish_folder(tmp_path / "bundles", 7, write, signing_key=keys[0][0])


def test_signed_bundle_opens_with_its_key_and_without_a_key(signed, keys):
    (_, public), _ = keys
    assert Bundle.open(signed, public_key=public).model_version == 7
    assert Bundle.open(signed.parent, public_key=str(public)).model_version == 7
    assert Bundle.open(signed).model_version == 7
    assert len((signed / "manifest.sig").read_bytes()) == 64


def test_unsigned_bundle_is_refused_if_a_key_is_given(tmp_path, write, keys):
    (_, public), _ = keys
    folder = publish_folder(tmp_path / "bundles", 7, write)
    with pytest.raises(BundleError, match=rf"{folder} is not signed: manifest\.sig is missing"):
        Bundle.open(folder, public_key=public)


def test_bundle_signed_with_another_key_is_refused(signed, keys):
    with pytest.raises(
        BundleError, match=r"manifest\.sig is not the signature of manifest\.json by the owner of"
    ):
        Bundle.open(signed, public_key=keys[1][1])


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig"])
@pytest.mark.parametrize("bit", [0, 100, 511])
def test_signed_bundle_is_refused_if_one_bit_differs(signed, keys, name, bit):
    content = bytearray((signed / name).read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    (signed / name).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.sig is not the signature of manifest\.json"):
        Bundle.open(signed, public_key=keys[0][1])


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig"])
@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_signature_that_is_not_a_regular_file_is_refused(signed, keys, name, put):
    (signed / name).unlink()
    put(signed / name)
    with pytest.raises(BundleError, match=rf"{name}.*(not a regular file|Is a directory|cannot be read)"):
        Bundle.open(signed, public_key=keys[0][1])


def test_open_reads_the_manifest_that_the_signature_check_read(signed, keys, monkeypatch):
    def check(folder, manifest, key):
        (folder / "manifest.json").write_bytes(manifest.replace(b'"model_version": 7', b'"model_version": 8'))

    monkeypatch.setattr("karec.bundle.bundle.check_signature", check)
    assert Bundle.open(signed, public_key=keys[0][1]).model_version == 7


@pytest.mark.parametrize(
    "change", [lambda s: b"", lambda s: s[:63], lambda s: s + b"\n", lambda s: s * 200_000]
)
def test_signature_of_another_length_is_refused(signed, keys, change):
    path = signed / "manifest.sig"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BundleError, match=r"manifest\.sig is not the signature of manifest\.json"):
        Bundle.open(signed, public_key=keys[0][1])


def test_signed_bundle_is_refused_if_a_file_and_its_hash_are_altered(signed, tmp_path, write, keys):
    """A process that may write the folder can forge every hash, but not the signature."""

    def forge(folder):
        write(folder)
        (folder / "more").write_text("?")

    forged = publish_folder(tmp_path / "forged", 7, forge)
    shutil.copyfile(signed / "manifest.sig", forged / "manifest.sig")
    assert Bundle.open(forged).model_version == 7
    with pytest.raises(BundleError, match=r"manifest\.sig is not the signature of manifest\.json"):
        Bundle.open(forged, public_key=keys[0][1])


def test_signed_bundle_is_refused_if_only_a_file_is_altered(signed, keys):
    (signed / "snapshot" / "snapshot.json").write_text("altered")
    with pytest.raises(BundleError, match=r"snapshot\.json has 7 bytes, expected "):
        Bundle.open(signed, public_key=keys[0][1])


def test_signed_bundle_of_an_older_version_opens(signed, write, keys):
    """A signature proves the publisher, not the time: `current` may go back (docs/formats.md)."""
    publish_folder(signed.parent, 8, write, signing_key=keys[0][0])
    (signed.parent / "current").unlink()
    (signed.parent / "current").symlink_to(signed.name)
    assert Bundle.open(signed.parent, public_key=keys[0][1]).model_version == 7


def test_public_key_without_verify_is_refused(signed, keys):
    with pytest.raises(ValueError, match="public_key needs verify=True"):
        Bundle.open(signed, verify=False, public_key=keys[0][1])


def test_shared_refuses_an_unsigned_bundle_opened_before_without_a_key(tmp_path, write, keys):
    folder = publish_folder(tmp_path / "bundles", 7, write)
    held = Bundle.shared(folder)
    with pytest.raises(BundleError, match="is not signed"):
        Bundle.shared(folder, keys[0][1])
    assert Bundle.shared(folder) is held


def test_shared_returns_one_object_for_one_key(signed, keys):
    held = Bundle.shared(signed, keys[0][1])
    assert Bundle.shared(signed, str(keys[0][1])) is held


TEXT = """
bundle = "bundles"
bundle_key = "publisher.pub.pem"
[scenes.home]
limits = { recall = 8 }
recall = [{ use = "popular", quota = 5 }]
stages = [{ name = "rank", steps = [{ use = "top_k" }] }]
"""


def test_open_checks_the_key_of_karec_toml(tmp_path, platform, keys):
    def write(folder):
        vectors = np.eye(len(platform.works), dtype=np.float32)
        ItemIndex.build(platform.works.ids, vectors, model_version=7).save(folder / "index.karec")
        platform.save(folder / "snapshot")

    config = tmp_path / "karec.toml"
    config.write_text(TEXT)
    shutil.copyfile(keys[0][1], tmp_path / "publisher.pub.pem")
    folder = publish_folder(tmp_path / "bundles", 7, write)
    for build in (karec.open, open_bundle):
        with pytest.raises(BundleError, match=r"is not signed: manifest\.sig is missing"):
            build(config)
    shutil.rmtree(folder)
    publish_folder(tmp_path / "bundles", 7, write, signing_key=keys[0][0])
    with karec.open(config) as cascade:
        assert cascade.bundle is open_bundle(config)


@pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not here")
def test_openssl_keys_sign_and_openssl_verifies_the_signature(tmp_path, write):
    """The commands of docs/formats.md."""

    def openssl(*arguments):
        return subprocess.run([OPENSSL, *arguments], check=True, capture_output=True, text=True, cwd=tmp_path)

    openssl("genpkey", "-algorithm", "ed25519", "-out", "publisher.pem")
    openssl("pkey", "-in", "publisher.pem", "-pubout", "-out", "publisher.pub.pem")
    folder = publish_folder(tmp_path / "bundles", 7, write, signing_key=tmp_path / "publisher.pem")
    assert Bundle.open(folder, public_key=tmp_path / "publisher.pub.pem").model_version == 7
    files = ("-in", folder / "manifest.json", "-sigfile", folder / "manifest.sig")
    output = openssl("pkeyutl", "-verify", "-pubin", "-inkey", "publisher.pub.pem", "-rawin", *files).stdout
    assert "Verified Successfully" in output


def encrypted(path):
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = s.BestAvailableEncryption(b"secret")
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, secret)
    )


def elliptic(path):
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    )


def late(path):
    """Writes a key after more text than a key file may have."""
    make_pair(path.parent, "key")
    for name in ("key.pem", "key.pub.pem"):
        (path.parent / name).write_text("notes\n" * 4_000 + (path.parent / name).read_text())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "key.pem cannot be read: No such file or directory"),
        (lambda path: path.write_text("no key"), r"key\.pem is not a private key in PEM"),
        (encrypted, r"key\.pem is protected by a password, expected a key without one"),
        (elliptic, r"key\.pem is a .*ECPrivateKey, expected an ed25519 key"),
        (late, r"key\.pem is not a private key in PEM"),
    ],
)
def test_publish_refuses_an_invalid_private_key_before_writing(tmp_path, write, make, message):
    make(tmp_path / "key.pem")
    with pytest.raises(BundleError, match=message):
        publish_folder(tmp_path / "bundles", 7, write, signing_key=tmp_path / "key.pem")
    assert not (tmp_path / "bundles").exists()


def test_open_refuses_an_invalid_public_key(signed, tmp_path, keys):
    with pytest.raises(BundleError, match=r"nowhere\.pem cannot be read: No such file"):
        Bundle.open(signed, public_key=tmp_path / "nowhere.pem")
    with pytest.raises(BundleError, match=r"publisher\.pem is not a public key in PEM"):
        Bundle.open(signed, public_key=keys[0][0])
    elliptic(tmp_path / "key.pem")
    with pytest.raises(BundleError, match=r"key\.pub is a .*ECPublicKey, expected an ed25519 key"):
        Bundle.open(signed, public_key=tmp_path / "key.pub")
    late(tmp_path / "key.pem")
    with pytest.raises(BundleError, match=r"key\.pub\.pem is not a public key in PEM"):
        Bundle.open(signed, public_key=tmp_path / "key.pub.pem")


def test_public_key_without_cryptography_names_the_extra(signed, keys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    needed = r"^a signed bundle needs the package 'cryptography': pip install 'karec\[serve\]'$"
    with pytest.raises(ImportError, match=needed):
        Bundle.open(signed, public_key=keys[0][1])
    assert Bundle.open(signed).model_version == 7
