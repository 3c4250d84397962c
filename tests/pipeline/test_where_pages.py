"""Pages of requests with a condition, in all scene templates."""

from dataclasses import replace

import numpy as np
import pytest
from nine_scenes import SCENES, nine_scenes_config

import karec
from karec.config import load_cascade
from karec.where import Where

STRANGER, K = 987_654_321, 5  # a user without events


@pytest.fixture(scope="module")
def cascades(tmp_path_factory):
    config = nine_scenes_config(tmp_path_factory.mktemp("scenes"))
    made = {scene: load_cascade(config, scene) for scene in SCENES}
    yield made
    for cascade in made.values():
        cascade.close()


def conditions_of(cascade, seed):
    """Yields conditions on columns of the scene's items: of about a half, a tenth and one item."""
    columns = {name: column for name, column in cascade.index.columns.items() if column.dtype.kind in "iu"}
    generator = np.random.default_rng(seed)
    for name in sorted(columns):
        values = np.unique(columns[name])
        for share in (0.5, 0.1, 0.0):
            chosen = generator.permutation(values)[: max(int(share * len(values)), 1)].tolist()
            yield (
                Where.from_dict({"column": name, "in": chosen}),
                {*cascade.index.ids[np.isin(columns[name], chosen)].tolist()},
            )


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("user", [3, STRANGER])
def test_all_items_of_a_page_satisfy_the_condition(cascades, scene, user):
    cascade, n_pages = cascades[scene], 0
    for where, allowed in conditions_of(cascade, seed=1):
        page = cascade.run(karec.Request(user, K, scene, where=where))
        assert {item.item_id for item in page} <= allowed
        n_pages += len(page) > 0
        if len(page) < K:
            assert page.shortfall is not None
    assert n_pages > 0 or (user == STRANGER and scene in ("following", "city"))


@pytest.mark.parametrize("scene", SCENES)
def test_page_is_the_order_of_all_allowed_items(cascades, scene):
    """The oracle: all items that satisfy the condition enter the first stage."""
    cascade = cascades[scene]
    if not any(source.has_all for source in cascade.recall.sources):
        pytest.skip("the scene recommends only what its sources find")
    for where, allowed in conditions_of(cascade, seed=2):
        page = cascade.run(
            karec.Request(STRANGER, K, scene, time_ms=cascade.as_of_ms, where=where, request_id="r")
        )
        request = karec.Request(
            STRANGER,
            K,
            scene,
            time_ms=cascade.as_of_ms,
            request_id="r",
            item_ids=tuple(cascade.index.ids[np.isin(cascade.index.ids, [*allowed])].tolist()),
            first_stage=cascade.stages[0].name,
        )
        assert [item.item_id for item in page] == [item.item_id for item in cascade.run(request)]
        assert all(item.sources == ("where",) for item in page)


def test_condition_that_no_item_satisfies_gives_an_empty_page_with_the_reason(cascades):
    where = Where.from_dict({"column": "creator_id", "equal": -7})
    page = cascades["home"].run(karec.Request(3, K, where=where))
    assert len(page) == 0 and page.shortfall.step == "recall.where" and "condition" in page.shortfall.detail


@pytest.mark.parametrize("scene", SCENES)
def test_excluded_items_are_not_on_the_page_which_stays_full(cascades, scene):
    cascade = cascades[scene]
    request = karec.Request(3, K, scene, time_ms=cascade.as_of_ms, request_id="r")
    first = [item.item_id for item in cascade.run(request)]
    page = cascade.run(replace(request, exclude_ids=[*first, 10**15]))
    assert len(page) == K or page.shortfall is not None
    assert {*first}.isdisjoint(item.item_id for item in page)
    (trace,) = (step for step in page.trace.steps if step.step == "where" and step.stage == "request")
    assert trace.n_unknown == 1


@pytest.mark.parametrize("scene", SCENES)
def test_page_has_only_items_of_only_ids(cascades, scene):
    cascade = cascades[scene]
    only = cascade.index.ids[::3].tolist()
    request = karec.Request(STRANGER, K, scene, time_ms=cascade.as_of_ms, request_id="r", only_ids=only)
    page = cascade.run(request)
    assert {item.item_id for item in page} <= {*only}
    if any(source.has_all for source in cascade.recall.sources):
        assert len(page) == K or page.shortfall is not None
        ranked = replace(request, only_ids=None, item_ids=tuple(only), first_stage=cascade.stages[0].name)
        assert [item.item_id for item in page] == [item.item_id for item in cascade.run(ranked)]


def test_lists_of_ids_and_a_condition_restrict_a_page_together(cascades):
    cascade = cascades["home"]
    ids, songs = cascade.index.ids, cascade.index.columns["song_id"]
    only = ids[:40].tolist()
    expected = {*ids[:40][songs[:40] == songs[0]].tolist()} - {ids[0].item()}
    page = cascade.run(
        karec.Request(
            STRANGER,
            40,
            where=Where.from_dict({"column": "song_id", "equal": songs[0].item()}),
            only_ids=only,
            exclude_ids=[ids[0].item()],
        )
    )
    assert {item.item_id for item in page} == expected
    for request in (karec.Request(3, only_ids=[]), karec.Request(3, only_ids=[10**15])):
        page = cascade.run(request)
        assert len(page) == 0 and page.shortfall.step == "recall.where"


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"exclude_ids": range(100_001)}, "exclude_ids has 100,001 ids, expected at most 100,000"),
        ({"only_ids": [1.5]}, "only_ids is 1.5, expected an integer"),
        ({"only_ids": [[1, 2], [3, 4]]}, r"only_ids has shape \(2, 2\), expected a list of ids"),
        ({"only_ids": [2**63]}, "expected an integer of 64 bits"),
        ({"exclude_ids": ["a"]}, "this cascade has integer ids"),
    ],
)
def test_invalid_lists_of_ids_are_refused(cascades, lists, message):
    with pytest.raises(ValueError, match=message):
        cascades["home"].run(karec.Request(3, **lists))


def test_where_drops_items_of_the_caller_and_names_them(cascades):
    cascade = cascades["home"]
    ids, songs = cascade.index.ids[:6].tolist(), cascade.index.columns["song_id"][:6].tolist()
    page = cascade.rank(STRANGER, ids, where=Where.from_dict({"column": "song_id", "equal": songs[0]}))
    assert (
        page.dropped.items()
        >= {id_: "where" for id_, song in zip(ids, songs, strict=True) if song != songs[0]}.items()
    )
    assert {item.item_id for item in page} <= {
        id_ for id_, song in zip(ids, songs, strict=True) if song == songs[0]
    }


def test_blocked_items_are_left_out(cascades):
    cascade = cascades["home"]
    where = Where.from_dict({"column": "upload_ms", "at_least": 0})
    first = [item.item_id for item in cascade.run(karec.Request(3, K, where=where))]
    cascade.index.block(first[:1])
    try:
        assert first[0] not in {item.item_id for item in cascade.run(karec.Request(3, K, where=where))}
    finally:
        cascade.index.unblock(first[:1])


def test_unknown_column_is_refused(cascades):
    with pytest.raises(ValueError, match="no column 'colour'"):
        cascades["home"].run(karec.Request(3, where=Where.from_dict({"column": "colour", "equal": 1})))


@pytest.mark.parametrize("scene", SCENES)
def test_similar_items_satisfy_the_condition(cascades, scene):
    cascade = cascades[scene]
    item = cascade.index.ids[0].item()
    found = [item_id for item_id, _ in cascade.similar(item, K)]
    assert len(found) == K and item not in found
    for where, allowed in conditions_of(cascade, seed=3):
        assert {item_id for item_id, _ in cascade.similar(item, K, where=where)} == {
            item_id for item_id, _ in cascade.similar(item, 10**6) if item_id in allowed
        } or len(allowed) > K


def test_similar_items_of_an_id_of_another_kind_are_refused(cascades):
    with pytest.raises(ValueError, match="integer ids"):
        cascades["home"].similar(str(cascades["home"].index.ids[0]))
    with pytest.raises(TypeError):
        cascades["home"].similar(float(cascades["home"].index.ids[0]))


def test_requests_share_a_mask_that_nobody_can_change(cascades):
    cascade = cascades["home"]
    with cascade.index.pinned() as view, pytest.raises(ValueError, match="read-only"):
        cascade.masks.get(None, view).rows[0] = False


def test_similar_items_of_an_unknown_item_are_refused(cascades):
    with pytest.raises(ValueError, match="not in the index"):
        cascades["home"].similar(10**15)


def test_a_source_that_is_derived_from_one_of_all_items_still_runs(cascades):
    class Fewer(type(next(s for s in cascades["home"].recall.sources if s.name == "model"))):
        pass

    cascade = cascades["home"]
    (model,) = (source for source in cascade.recall.sources if source.name == "model")
    derived = Fewer(model.schema, model.quota)
    derived.name = "fewer"
    recall = replace(cascade.recall, sources=(derived,), merger=cascade.recall.whole)
    where = Where.from_dict({"column": "upload_ms", "at_least": 0})
    page = replace(cascade, recall=recall).run(karec.Request(3, K, where=where))
    assert {item.sources for item in page} == {("fewer",)}
