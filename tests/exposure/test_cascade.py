"""Exposure control in a whole scene: the config adds its steps, pages update it, and it changes the pages."""

import json
import threading

import pytest
from exposure_setup import SCENE
from small_bundle import publish_small_bundle

from karec.config import load_cascade
from karec.pipeline.types import Request


@pytest.fixture
def cascade(tmp_path):
    bundle = publish_small_bundle(tmp_path)
    (tmp_path / "karec.toml").write_text(SCENE)
    with load_cascade(tmp_path / "karec.toml", "home", bundle) as cascade:
        yield cascade


def serve(cascade, n, start=0):
    now_ms = cascade.bundle.snapshot.time_ms
    pages = []
    for i in range(start, start + n):
        pages.append(cascade.run(Request(i % 12, 4, time_ms=now_ms + i, request_id=str(i))))
        cascade.side_effects[0].flush()
    return pages


def control_notes(page):
    (step,) = (step for step in page.trace.steps if step.step == "exposure_control")
    return step.notes


def test_exposure_steps_are_added_at_their_places(cascade):
    assert cascade.recall.sources[0].name == "underexposed"
    assert [step.name for step in cascade.stages[-1].steps] == ["exposure_control", "dpp"]
    assert all("exposure_control" not in [step.name for step in s.steps] for s in cascade.stages[:-1])
    names = [queue.side_effect.name for queue in cascade.side_effects]
    assert names == ["exposure_counter", "rank_log"]


def test_pages_change_dual_variables_and_dual_variables_change_pages(cascade):
    index = cascade.bundle.index

    def share(pages):
        items = [item for page in pages for item in page.candidates.ids.tolist()]
        return float((index.gather("tag", index.lookup(items)) == 2).mean())

    before = share(serve(cascade, 12))
    serve(cascade, 120, 12)
    after = share(serve(cascade, 120, 132))
    assert abs(after - 0.6) < 0.1 < abs(before - 0.6)
    (target,) = cascade.exposure.snapshot()["targets"]
    assert target["name"] == "tag 2" and target["dual_variable"] != 0


def test_page_holds_no_version_of_the_dual_variables(cascade):
    (page,) = serve(cascade, 1)
    assert page.request.dual_variables is None


def test_explored_items_pass_prerank_and_rank_and_are_on_the_page(cascade):
    serve(cascade, 12)
    pages = serve(cascade, 30, 12)  # the guarantees are reached after about 50 pages
    assert {control_notes(page)["explored"] for page in pages} == {1}
    explored = [item for page in pages for item in page if "underexposed" in item.sources]
    assert len(explored) >= 30


def test_rank_log_keeps_the_scores_of_the_ranker(cascade):
    (page,) = serve(cascade, 1)
    ranked = page.scored["rank"]
    assert ((ranked.scores > 0) & (ranked.scores < 1)).all(), "fused probabilities without penalties"


def test_threads_serve_during_updates_and_every_page_is_counted(cascade):
    now_ms = cascade.bundle.snapshot.time_ms
    notes = []

    def run(user):
        for i in range(60):
            page = cascade.run(Request(user, 4, time_ms=now_ms + i, request_id=f"{user}-{i}"))
            notes.append({key: note for key, note in control_notes(page).items() if key != "explored"})

    threads = [threading.Thread(target=run, args=(user,)) for user in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = cascade.close()[0]
    assert (counts.done, counts.failed, counts.dropped) == (240, 0, 0)
    assert cascade.exposure.snapshot()["pages"] == 240 == len(notes)
    by_version = {}
    for note in notes:
        by_version.setdefault(note["version"], set()).add(json.dumps(note))
    assert all(len(texts) == 1 for texts in by_version.values()), "a version has one set of values"
