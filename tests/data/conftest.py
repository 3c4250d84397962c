"""Where real data lies, if it does, and tiny files in the official layouts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from kuairand_files import LOG

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
Files = dict[str, list[list[str]]]


def _root(variable: str, folder: str, probe: str) -> Path:
    root = Path(os.environ.get(variable, BESIDE / folder))
    if not any((place / probe).is_file() for place in (root, root / "data")):
        pytest.skip(f"{root} holds no {probe}: set {variable} to the folder of an official download")
    return root


@pytest.fixture(scope="session")
def kuairand_root() -> Path:
    return _root("KAREC_KUAIRAND", "kuairand-pure", LOG)


@pytest.fixture(scope="session")
def lastfm_root() -> Path:
    return _root("KAREC_LASTFM", "lastfm-hetrec2011", "user_artists.dat")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(files, delimiter) → the folder with them; a file is its lines, a line its cells."""

    def written(files: Files, delimiter: str = ",") -> Path:
        for name, lines in files.items():
            text = "".join(delimiter.join(cells) + "\n" for cells in lines)
            (tmp_path / name).write_text(text, encoding="latin-1")
        return tmp_path

    return written
