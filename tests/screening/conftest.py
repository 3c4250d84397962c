"""Five days of uploads, screened."""

import numpy as np
import pytest
from small_uploads import draw, write_uploads

from karec.screening.screen import screen
from karec.screening.settings import read_settings


@pytest.fixture(scope="session")
def days():
    """{number of the day: columns}, of 150 to 400 works."""
    rng = np.random.default_rng(5)
    return {number: draw(int(rng.integers(150, 400)), rng, number * 1000) for number in range(5)}


@pytest.fixture(scope="session")
def library(days, tmp_path_factory):
    """Path of a screen.toml, in the folder of its uploads. Tests do not change them."""
    return write_uploads(tmp_path_factory.mktemp("library"), days)


@pytest.fixture(scope="session")
def out(library, tmp_path_factory):
    """The finished screening of ``library``."""
    folder = tmp_path_factory.mktemp("screened")
    screen(read_settings(library), folder)
    return folder
