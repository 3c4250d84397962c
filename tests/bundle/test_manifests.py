"""Bytes of the two manifests that a publisher writes, and the facts read from the first."""

import pytest

from karec.bundle import Bundle, publish_folder

JSON = """{
 "facts": {
  "auc": 0.5,
  "tasks": [
   "click"
  ]
 },
 "files": {
  "manifest.txt": {
   "bytes": 152,
   "sha256": "11a2c1225cebc3a0cdaa2d60e8b947312628777d28ed712d36d5c748c52b4237"
  },
  "notes/labels.json": {
   "bytes": 2,
   "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
  },
  "rows.bin": {
   "bytes": 4,
   "sha256": "bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99e"
  }
 },
 "format": 1,
 "model_version": 7
}"""
TEXT = """karec-bundle 1
model_version 7
file notes/labels.json bytes=2 xxh64=2e1472b57af294d1
file rows.bin bytes=4 xxh64=d32ac3d1ef3dd156
seal cd93439abcecb120
"""


def write(folder):
    (folder / "rows.bin").write_bytes(b"rows")
    (folder / "notes").mkdir()
    (folder / "notes" / "labels.json").write_text("{}")


@pytest.mark.parametrize("facts", [{"tasks": ["click"], "auc": 0.5}, {"auc": 0.5, "tasks": ["click"]}])
def test_manifests_of_equal_content_have_equal_bytes(tmp_path, facts):
    folder = publish_folder(tmp_path, 7, write, facts)
    assert (folder / "manifest.json").read_text() == JSON
    assert (folder / "manifest.txt").read_text() == TEXT


def test_bundle_without_facts_has_empty_facts(tmp_path):
    assert Bundle.open(publish_folder(tmp_path, 7, write)).facts == {}
