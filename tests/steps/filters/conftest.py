"""The index of the platform's items, and the ids that a filter keeps."""

import numpy as np
import pytest

from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request

ALL_IDS = [*range(100, 110), 999]  # 999 is not in the index


@pytest.fixture
def index(platform):
    columns = {"creator_id": platform.works["creator_id"], "tag": platform.works["tag"]}
    return ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32), columns=columns)


@pytest.fixture
def kept(index):
    """Returns a function: the ids that a step keeps of ``ALL_IDS`` for a user."""

    def keep(step, user, index=index):
        with index.pinned() as view:
            candidates = Candidates.from_ids(np.array(ALL_IDS)).with_rows(view.lookup(ALL_IDS))
            is_kept = step.keep(Request(user).with_view(view), candidates)
        return candidates.ids[is_kept].tolist()

    return keep
