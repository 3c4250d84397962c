"""Reasons for people: which item of the user caused an item of the page."""

import numpy as np
import pytest

from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.stage import Stage
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request, Why
from karec.steps.selectors.top_k import TopK
from karec.steps.sources.merge import Merge


class Finds(Source):
    """Finds ``ids``; item 10 + n was caused by item n, items above 100 by none."""

    quota = 9

    def __init__(self, name, ids, why=""):
        self.name, self.ids, self.why = name, ids, why

    def recall(self, request):
        return Candidates.from_ids(np.array(self.ids), -np.arange(len(self.ids), dtype=np.float32))

    def causes(self, request, ids):
        return np.where(ids > 100, -1, ids - 10)


def page_of(*sources):
    recall = Recall(tuple(sources), Merge([9] * len(sources), 9))
    return Cascade("home", (), recall, (Stage("rank", (TopK(),)),)).run(Request(1, k=9))


def test_items_of_sources_with_a_template_have_reasons():
    page = page_of(Finds("liked", [11, 12, 101], "because you liked {item}"), Finds("popular", [13]))
    whys = {item.item_id: item.why for item in page}
    assert whys == {11: Why("because you liked 1", 1), 12: Why("because you liked 2", 2), 101: None, 13: None}


def test_first_source_with_a_template_gives_the_reason():
    sources = Finds("a", [11]), Finds("b", [11, 12], "as {item}"), Finds("c", [12], "like {item}")
    assert [item.why.text for item in page_of(*sources)] == ["as 1", "as 2"]


@pytest.mark.parametrize("why", ["", "like {item}"])
def test_page_without_a_template_asks_for_no_causes(why):
    class Fails(Finds):
        def causes(self, request, ids):
            raise RuntimeError("asked")

    if why:
        with pytest.raises(RuntimeError, match="asked"):
            page_of(Fails("a", [11], why))
    else:
        assert page_of(Fails("a", [11], why)).items[0].why is None
