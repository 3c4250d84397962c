"""Recall of the source model by hand, and both vector spaces of a bundle."""

import json

import numpy as np
import pytest
from small_bundle import publish_small_bundle
from small_dataset import make_dataset

import karec
from karec.cli.inspect import inspect_path
from karec.config.templates import home_scene_text
from karec.errors import DataError
from karec.lab.studies.recall import (
    ENJOYED,
    FAVOURITES,
    OWN,
    POPULAR,
    PRERANK,
    RANKED,
    Asked,
    asked_users,
    recall_json,
    recall_rows,
    recall_study,
)
from karec.pipeline.types import Request


def asked(user, known, own, prerank, wanted=(1, 2, 3, 4)):
    found = {OWN: np.array(own), PRERANK: np.array(prerank), POPULAR: np.arange(100, 110)}
    return Asked(user, known, {FAVOURITES: np.array(wanted), ENJOYED: np.empty(0, np.int64)}, found)


def test_recall_at_k_has_a_paired_gain():
    """Two users at k = 2: 2 and 1 of 4 by recall's vectors, 1 and 1 by prerank's."""
    users = [asked(7, 0, [1, 2, 3], [1, 9, 2]), asked(8, 30, [9, 4, 1], [3, 9, 9])]
    report = recall_study(iter(users), at=(2,))
    everyone, nothing, some = report["measures"]
    assert (report["users"], everyone["reference"], everyone["k"], everyone["users"]) == (2, FAVOURITES, 2, 2)
    values = {name: of["value"] for name, of in everyone["recall"].items()}
    assert values == {OWN: pytest.approx(0.375), PRERANK: pytest.approx(0.25), POPULAR: 0}
    assert everyone["gain"]["value"] == pytest.approx(0.125)
    assert everyone["gain"]["ci"][0] >= 0 and everyone["gain"]["ci"][1] <= 0.25
    assert [(each["known"], each["recall"][OWN]["value"]) for each in (nothing, some)] == [
        ("nothing", 0.5),
        ("11 to 50", 0.25),
    ]
    assert json.loads(recall_json(report))["format"] == 1
    head, rows = recall_rows(report)
    assert head[-1] == "own − prerank's" and rows[0][:4] == (FAVOURITES, "2", "all", "2")


def test_recall_rejects_no_users():
    with pytest.raises(DataError, match="no users"):
        recall_study(iter(()))


@pytest.fixture(scope="module", params=[True, False])
def served(request, tmp_path_factory):
    """(whether it has recall's own space, a cascade over the small bundle)."""
    root = tmp_path_factory.mktemp("served")
    bundle = publish_small_bundle(root, recall=request.param)
    config = root / "karec.toml"
    scene = bundle.snapshot.labels["scene"][0]
    config.write_text(home_scene_text(scene, bundle.snapshot, make_dataset().objectives))
    with karec.open(config, scene) as cascade:
        yield request.param, cascade


def test_config_serves_with_and_without_a_recall_space(served):
    own, cascade = served
    bundle = cascade.bundle
    user = int(bundle.snapshot.users.ids[0])
    feed = cascade.run(Request(user, k=5, scene=cascade.scene, time_ms=bundle.snapshot.time_ms))
    assert len(feed) == 5 and not feed.degraded
    assert ("recall_generation" in feed.versions) == own
    (step,) = [step for step in feed.trace.steps if step.step == "model"]
    assert step.n_out > 0 and not step.failure


def test_spaces_are_searched_with_their_own_vectors(served):
    own, cascade = served
    bundle, dataset = cascade.bundle, make_dataset()
    known = set(np.asarray(bundle.snapshot.works.ids).tolist())

    def truth(users, works, time_ms, scene):
        return np.stack([works, works, users * 0], axis=1).astype(float)

    found = list(asked_users(cascade, bundle, dataset, n_users=6, n_ranked=2, truth=truth))
    assert len(found) == 6 and [RANKED in user.references for user in found] == [True, True, *[False] * 4]
    for user in found:
        assert set(user.found) == ({OWN, PRERANK, POPULAR} if own else {PRERANK, POPULAR})
        assert all(set(ids.tolist()) == known for ids in user.found.values()), "40 works are within any k"
        rows = dataset.snapshot.works.lookup(user.references[FAVOURITES])
        assert rows.tolist() == sorted(rows.tolist(), reverse=True)
        inputs = bundle.encoder.encode_user(bundle.snapshot, user.user_id, bundle.snapshot.time_ms, 0)
        spaces = {PRERANK: (bundle.index, bundle.user_tower)}
        if own:
            spaces[OWN] = (bundle.recall_index, bundle.recall_user_towers[1])
            assert user.found[OWN].tolist() != user.found[PRERANK].tolist()
        for name, (index, tower) in spaces.items():
            nearest = index.search(tower.run(inputs, "user_vector")[0][0], 40).ids
            assert user.found[name].tolist() == nearest.tolist()


def test_bundle_of_other_users_is_rejected(served):
    _, cascade = served
    other = make_dataset()
    users = other.snapshot.users
    object.__setattr__(users, "ids", np.asarray(users.ids) + 1)
    with pytest.raises(DataError, match="the users differ"):
        next(asked_users(cascade, cascade.bundle, other, n_users=1, n_ranked=0))


def test_inspection_shows_both_spaces(served):
    own, cascade = served
    sections = list(inspect_path(cascade.bundle.path))
    titles = [section.title for section in sections]
    assert any("index.karec" in title for title in titles)
    assert any("recall.karec" in title for title in titles) == own
    files = [row["file"] for row in sections[0].to_dict()["rows"]]
    assert ("recall_user_tower.onnx" in files) == own == ("recall.karec" in files)
