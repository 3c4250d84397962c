"""Works that the session has shown are left out."""

import numpy as np

from karec.prerank.rows import NotShown
from karec.types import Candidates, Request


def test_what_was_shown_is_not_shown_again():
    candidates = Candidates.of(np.arange(1000, 1005))
    keep = NotShown().keep(Request(user_id=1, shown=(1001, 1003, 77)), candidates)
    assert keep.tolist() == [True, False, True, False, True]
    assert NotShown().keep(Request(user_id=1), candidates).all()
