"""Bundles pulled from an S3 server: verified before ``current`` moves, by one process of several, and
resumable."""

import json
import logging
import multiprocessing
import os
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
from living_scenes import make_config, publish_works, version_of
from object_stores import (
    forbidding_server,
    free_port,
    make_bucket,
    pull_concurrently,
    pull_one_file,
    s3_server,
    set_credentials,
    url_of,
)
from test_signing import make_pair

from karec.bundle import remote
from karec.bundle.publish import publish_folder
from karec.bundle.remote import follow, local_folder, pull, set_current, upload
from karec.config.open import open_hot_swap
from karec.errors import BundleError, ConfigError
from karec.object_store import ObjectFolder
from karec.pipeline.types import Request

DEADLINE_S = 60
N_BYTES = 3_000_000


@pytest.fixture
def url(s3_port):
    """A folder of its own in the bucket."""
    return url_of(s3_port, f"bucket/{uuid4().hex}/bundles")


@pytest.fixture
def published(tmp_path):
    """A function that publishes a version locally and uploads it."""

    def publish(url, version, key=None):
        def write(folder):
            (folder / "inner").mkdir()
            (folder / "inner" / "rows.bin").write_bytes(bytes([version]) * N_BYTES)
            (folder / "labels.json").write_text("{}")

        folder = publish_folder(tmp_path / "published", version, write, signing_key=key)
        upload(folder, url)
        return folder

    return publish


def current(root):
    return Path(os.readlink(root / "current")).name if (root / "current").is_symlink() else None


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pull_copies_a_version_and_moves_current(url, published, tmp_path):
    folder = published(url, 7)
    pull(url, tmp_path / "host")
    assert current(tmp_path / "host") == "v0000000007"
    assert contents(tmp_path / "host" / "v0000000007") == contents(folder)
    published(url, 8)
    pull(url, tmp_path / "host")
    assert current(tmp_path / "host") == "v0000000008"


def test_pull_follows_current_back_to_an_older_version(url, published, tmp_path):
    for version in (7, 8):
        published(url, version)
        pull(url, tmp_path / "host")
    set_current(url, "v0000000007")
    pull(url, tmp_path / "host")
    assert current(tmp_path / "host") == "v0000000007"


def test_upload_of_an_older_version_keeps_current(url, published):
    published(url, 8)
    published(url, 7)
    assert ObjectFolder(url).read("current", 64) == b"v0000000008\n"


def test_pull_keeps_three_versions(url, published, tmp_path):
    for version in range(1, 6):
        published(url, version)
        pull(url, tmp_path / "host")
    names = sorted(path.name for path in (tmp_path / "host").glob("v*"))
    assert names == ["v0000000003", "v0000000004", "v0000000005"]


def test_upload_is_repeated_after_an_interruption(url, published, tmp_path, monkeypatch):
    def fail(self, path, name):
        raise OSError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectFolder, "upload", fail)
        with pytest.raises(BundleError, match="was not uploaded: interrupted"):
            published(url, 7)
    assert ObjectFolder(url).size("current") is None
    upload(tmp_path / "published" / "current", url)
    pull(url, tmp_path / "host")
    assert current(tmp_path / "host") == "v0000000007"


def test_upload_refuses_another_content_of_a_version(url, published, tmp_path):
    published(url, 7)
    other = publish_folder(tmp_path / "other", 7, lambda folder: None)
    with pytest.raises(BundleError, match=r"v0000000007 has other content\. A version never changes"):
        upload(other, url)


# Refusals


def half_upload(store):
    """Version 8 has no manifest yet, although ``current`` names it."""
    store.write("v0000000008/labels.json", b"{}")
    store.write("current", b"v0000000008\n")


def alter(name, change):
    """Version 8 is version 7 with another manifest or file."""

    def damage(store):
        manifest = json.loads(store.read("v0000000007/manifest.json", 1 << 20))
        manifest["model_version"] = 8
        for part in manifest["files"]:
            store.write(f"v0000000008/{part}", store.read(f"v0000000007/{part}", N_BYTES))
        store.write("v0000000008/manifest.json", json.dumps(manifest).encode())
        data = store.read(f"v0000000008/{name}", N_BYTES)
        store.write(f"v0000000008/{name}", change(data))
        store.write("current", b"v0000000008\n")

    return damage


def declare(n_bytes):
    def change(data):
        manifest = json.loads(data)
        manifest["files"]["inner/rows.bin"]["bytes"] = n_bytes
        return json.dumps(manifest).encode()

    return change


ROWS = "inner/rows.bin"
DAMAGES = {
    "half uploaded": (half_upload, r"v0000000008 is not complete: it has no manifest\.json"),
    "short": (alter(ROWS, lambda data: data[:-1]), r"rows\.bin has 2999999 bytes, expected 3000000 by"),
    "long": (alter(ROWS, lambda data: data + b"x"), r"rows\.bin has 3000001 bytes, expected 3000000"),
    "altered": (alter(ROWS, lambda data: b"x" + data[1:]), r"rows\.bin: its SHA-256 differs"),
    "a manifest that is not JSON": (
        alter("manifest.json", lambda data: data[:-1]),
        "manifest.json is not JSON",
    ),
    "more bytes than the disk": (alter("manifest.json", declare(10**18)), r"has 1,0.* bytes free"),
    "a path out of the folder": (
        alter("manifest.json", lambda data: data.replace(b"labels.json", b"../labels.json")),
        "expected a path within the bundle",
    ),
    "current without a version": (
        lambda store: store.write("current", b"../x\n"),
        "is not the name of a version",
    ),
    "current cut short": (
        lambda store: store.write("current", b"v0000000008"),
        "is not the name of a version",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_incomplete_or_damaged_version_keeps_the_previous_one(url, published, tmp_path, name):
    damage, reason = DAMAGES[name]
    root = tmp_path / "host"
    published(url, 7)
    pull(url, root)
    damage(ObjectFolder(url))
    with pytest.raises(BundleError, match=reason) as refused:
        pull(url, root)
    assert str(refused.value).isprintable() and "endpoint_override" not in str(refused.value)
    assert current(root) == "v0000000007"
    assert not list(root.glob("v0000000008*"))
    set_current(url, "v0000000007")
    pull(url, root)  # the host goes on


def test_pull_refuses_an_unsigned_version_if_a_key_is_given(url, published, tmp_path):
    private, public = make_pair(tmp_path, "publisher")
    published(url, 7)
    with pytest.raises(BundleError, match=r"manifest\.sig does not exist"):
        pull(url, tmp_path / "host", public)
    published(url, 8, private)
    pull(url, tmp_path / "host", public)
    assert current(tmp_path / "host") == "v0000000008"
    assert (tmp_path / "host" / "v0000000008" / "manifest.sig").exists()


def test_missing_bucket_is_refused_without_the_query_of_its_url(s3_port, tmp_path):
    with pytest.raises(BundleError) as refused:
        follow(url_of(s3_port, "no-such-bucket/bundles"), tmp_path / "host")
    assert str(refused.value) == (
        "s3://no-such-bucket/bundles was not pulled: s3://no-such-bucket/bundles/current does not exist"
    )


def test_missing_permission_is_one_line_and_keeps_the_local_version(url, published, tmp_path, caplog):
    root = tmp_path / "host"
    published(url, 7)
    follow(url, root)
    (root / remote.NEXT_POLL).unlink()
    with forbidding_server() as port, caplog.at_level(logging.WARNING, "karec.bundle"):
        follow(url_of(port, "bucket/bundles"), root)
    (message,) = [record.message for record in caplog.records]
    assert "s3://bucket/bundles/current: " in message and "ACCESS_DENIED" in message
    assert message.isprintable() and "endpoint_override" not in message
    assert current(root) == "v0000000007"


def test_server_that_is_away_keeps_the_local_version_and_is_logged_once(
    tmp_path, published, caplog, monkeypatch
):
    set_credentials(monkeypatch)
    monkeypatch.setattr(remote, "RETRY_S", 1e-3)
    monkeypatch.setattr(remote, "POLL_S", 1e-3)
    port, root = free_port(), tmp_path / "host"
    url = url_of(port, "bucket/bundles")
    with s3_server(port):
        make_bucket(port, "bucket")
        published(url, 7)
        follow(url, root)
    with caplog.at_level(logging.WARNING, "karec.bundle"):
        for _ in range(3):
            wait_for(lambda: remote._is_due(root))
            follow(url, root)
    (message,) = [record.message for record in caplog.records]
    assert "s3://bucket/bundles" in message and message.endswith("the previous version stays in service")
    assert "endpoint_override" not in message and os.environ["AWS_SECRET_ACCESS_KEY"] not in message
    assert current(root) == "v0000000007"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "s3://key:secret@bucket/path",
            r"s3://bucket/path: the URL contains credentials; set credentials in the env",
        ),
        ("s3://bucket/path?secret_key=secret", r"s3://bucket/path: the URL contains credentials"),
        ("s3:///path", r"s3:/+path has no bucket, expected s3://BUCKET/PATH"),
        ("http://host/path", r"http://host/path is not a URL of an object store"),
    ],
)
def test_config_refuses_a_url_with_credentials_or_another_scheme(tmp_path, url, message):
    path = tmp_path / "karec.toml"
    path.write_text(f'bundle = "{url}"\n[scenes.home]\n')
    with pytest.raises(ConfigError, match=message) as refused:
        open_hot_swap(path)
    assert "secret" not in str(refused.value)


def test_file_url_is_pulled(tmp_path, published):
    url = f"file://{tmp_path}/store"
    published(url, 7)
    pull(url, tmp_path / "host")
    assert current(tmp_path / "host") == "v0000000007"


# Processes


def test_concurrent_pulls_of_one_host_share_the_folder(url, published, tmp_path):
    published(url, 7)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [
        context.Process(target=pull_concurrently, args=(url, tmp_path / "host", barrier)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE_S)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert current(tmp_path / "host") == "v0000000007"
    assert [path.name for path in (tmp_path / "host").glob("v*")] == ["v0000000007"]


def test_killed_pull_leaves_the_previous_version_and_is_repeated(url, published, tmp_path):
    root = tmp_path / "host"
    published(url, 7)
    pull(url, root)
    published(url, 8)
    process = multiprocessing.get_context("spawn").Process(target=pull_one_file, args=(url, root))
    process.start()
    wait_for(lambda: any(path.stat().st_size for path in root.glob("v0000000008*/inner/rows.bin")))
    pull(url, root, wait=False)  # another process of the host does not wait
    assert current(root) == "v0000000007"
    process.kill()
    process.join()
    assert current(root) == "v0000000007" and not (root / "v0000000008").exists()
    pull(url, root)
    assert current(root) == "v0000000008"
    assert not list(root.glob("*.tmp"))


def test_service_follows_a_url(url, tmp_path, platform, monkeypatch):
    monkeypatch.setattr(remote, "POLL_S", 1e-3)
    path = make_config(tmp_path, platform)
    upload(tmp_path / "bundles" / "current", url)
    path.write_text(path.read_text().replace('"bundles"', f'"{url}"'))
    with open_hot_swap(path) as swap:
        assert version_of(swap.run(Request(user_id=1, k=4, scene="home"))) == 7
        upload(publish_works(tmp_path / "bundles", platform, 8), url)
        wait_for(swap.reload)
        assert version_of(swap.run(Request(user_id=1, k=4, scene="home"))) == 8
    root = local_folder(url, tmp_path / "bundle-cache")
    assert current(root) == "v0000000008"


def test_close_does_not_wait_for_a_download(url, tmp_path, platform, monkeypatch):
    path = make_config(tmp_path, platform)
    upload(tmp_path / "bundles" / "current", url)
    path.write_text(path.read_text().replace('"bundles"', f'"{url}"'))
    has_begun, may_end = threading.Event(), threading.Event()

    def download_never(*arguments):
        has_begun.set()
        may_end.wait(DEADLINE_S)
        raise BundleError("stopped")

    with open_hot_swap(path, watch_seconds=0.01) as swap:
        monkeypatch.setattr(remote, "_download_file", download_never)
        upload(publish_works(tmp_path / "bundles", platform, 8), url)
        assert has_begun.wait(DEADLINE_S)
        assert version_of(swap.run(Request(user_id=1, k=4, scene="home"))) == 7
        swap.close()
    may_end.set()
