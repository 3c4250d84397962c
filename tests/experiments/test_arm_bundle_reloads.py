"""Bundles that arms name: reloads, rollouts, bundles that cannot serve, and mistakes."""

import gc
import os
import shutil
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
from small_bundle import write_next_run
from two_models import EXPERIMENTS, HOUR_MS, SIDE_EFFECTS, ask, ids_of, publish_models, write_config

from karec.bundle import Bundle
from karec.cli import main
from karec.config.arms import experiment_mistakes, load_experiments
from karec.config.open import open_hot_swap
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.index import IdMap
from karec.refresh.next_version import publish_next_version
from karec.refresh.publish_run import publish
from karec.refresh.rolling import open_refresh


@pytest.mark.parametrize(("root", "arm"), [("bundles", "control"), ("other", "new")])
def test_reload_replaces_the_bundle_of_one_arm(live, folder_of_models, root, arm):
    other = {"control": "new", "new": "control"}[arm]
    before = {name: ask(live, name, request_id="r") for name in ("control", "new")}
    work = ids_of(before[other])[0]
    live.record([{"event": "block", "item_id": work}])
    assert not live.reload()
    publish_models(Bundle.open(folder_of_models / root), folder_of_models / root, 5)
    assert live.reload()
    after = {name: ask(live, name, request_id="r") for name in ("control", "new")}
    assert after[arm].versions["model"] == 5
    assert after[other].versions["model"] == before[other].versions["model"]
    for page in after.values():
        assert work not in ids_of(page) and not page.degraded
    live.record([{"event": "unblock", "item_id": work}])
    assert ids_of(ask(live, other, request_id="r")) == ids_of(before[other])


def refresh(root, now):
    """A round of the library of the current bundle, as another process makes it."""
    with open_refresh(Bundle.open(root, verify=False)) as work:
        work.run(work.start_round(now, 7))


def vectors(index):
    with index.pinned() as view:
        return view.embeddings(view.lookup(index.ids))


def test_refreshed_vectors_of_the_second_bundle_are_added_to_its_index(live, folder_of_models, now):
    control, new = (live.cascades["home"].experiments.pipelines[key].index for key in (("",), ("new",)))
    before = vectors(control), vectors(new)
    refresh(folder_of_models / "other", now + 99 * HOUR_MS)
    live.add_refreshed()
    after = vectors(control), vectors(new)
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])


def test_rollout_of_the_next_model_of_the_second_bundle_ends(live, folder_of_models, now):
    bundle = Bundle.open(folder_of_models / "other")
    refresh(folder_of_models / "other", now)
    run = write_next_run(bundle, folder_of_models / "run-3", 3)
    publish_next_version(run, bundle.snapshot, folder_of_models / "other", sample=5, ids=bundle.path / "ids")
    assert live.reload()
    index = live.cascades["home"].experiments.pipelines[("new",)].index
    assert index.model_versions == (2, 3) and not ask(live, "new", time_ms=now).degraded
    refresh(folder_of_models / "other", now + HOUR_MS)
    live.add_refreshed()
    assert index.model_versions == (3,) and not ask(live, "new", time_ms=now).degraded


@pytest.mark.parametrize("damage", ["missing", "truncated", "other ids", "other categories"])
def test_arm_whose_bundle_cannot_serve_gets_control_and_is_named(folder_of_models, caplog, damage):
    other = folder_of_models / "other"
    bundle = Bundle.open(folder_of_models / "bundles")
    shutil.rmtree(other) if damage != "truncated" else (other / "current" / "ranker.onnx").write_bytes(b"")
    if damage == "other ids":
        publish_models(bundle, other, 2, ids=make_ids(folder_of_models, bundle))
    if damage == "other categories":
        publish_with_other_categories(bundle, other)
    path = folder_of_models / "karec.toml"
    (mistake,) = {line for line in experiment_mistakes(Config.read(path), bundle) if "home" not in line}
    assert "the arm models.new: " in mistake
    with open_hot_swap(path, None) as live:
        page = ask(live, "new")
        assert page.degraded == ("request.experiments: models.new",) and page.versions["model"] == 1
        assert not ask(live, "control").degraded
        assert "the arm models.new gets control" in caplog.text
        if damage == "missing":
            publish_models(bundle, other, 7)
            assert live.reload() and ask(live, "new").versions["model"] == 7


def make_ids(folder, bundle):
    (folder / "ids-of-numbers").mkdir()
    for name, table in (("users", bundle.snapshot.users), ("items", bundle.snapshot.works)):
        IdMap.build(table.ids, folder / "ids-of-numbers" / f"{name}.karec")
    return folder / "ids-of-numbers"


def publish_with_other_categories(bundle, root):
    snapshot = bundle.snapshot
    labels = {name: [*names] for name, names in snapshot.labels.items()}
    labels["type"] = [*reversed(labels["type"])]
    run = write_next_run(bundle, root.parent / "run-categories")
    publish(run, replace(snapshot, labels=labels), root, ids=bundle.path / "ids")


MISTAKES = [
    (
        {'["bundle", ': "["},
        "bundle = 'other', expected a layer by user or session with 'bundle' in its paths",
    ),
    ({'"models-2026"': '"models-2026"\nunit = "creator"'}, "bundle = 'other', expected a layer by user"),
    ({"arms.control": "interleave = true\narms.control"}, "bundle = 'other', expected .* interleave = false"),
    ({'bundle = "other"': 'patches = { bundle = "other" }'}, "bundle is not in its layer 'models'"),
    ({'bundle = "other"': "bundle = 2"}, "bundle = 2, expected"),
    ({'bundle = "other"': 'bundle = ""'}, "bundle = '', expected a text that is not empty"),
]


@pytest.mark.parametrize(("replacements", "message"), MISTAKES)
def test_bundle_that_an_arm_cannot_have_is_a_mistake(folder_of_models, replacements, message):
    text = EXPERIMENTS
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(ConfigError, match=message):
        load_experiments(Config.read(write_config(folder_of_models, text)))


def test_reload_refuses_another_bundle_of_a_started_experiment(live, folder_of_models):
    shutil.copytree(folder_of_models / "other", folder_of_models / "third", symlinks=True)
    write_config(folder_of_models, EXPERIMENTS.replace('"other"', '"third"'))
    with pytest.raises(ConfigError, match=r"patches is .*third.*expected .*other.*version 1 has started"):
        live.reload()
    write_config(folder_of_models, EXPERIMENTS.replace('"other" }', '"third" }\nversion = 2'))
    assert live.reload() and ask(live, "new").versions["model"] == 2


def test_bundle_of_an_ended_experiment_is_freed(live, folder_of_models):
    ask(live, "new")
    index = weakref.ref(live.cascades["home"].experiments.pipelines[("new",)].index)
    write_config(folder_of_models, EXPERIMENTS.replace("2090", "2021"))
    gc.disable()
    try:
        assert live.reload() and index() is None
    finally:
        gc.enable()
    assert ask(live, "new").versions["model"] == 1


def test_twenty_reloads_keep_no_files_and_threads(live, folder_of_models):
    def counts():
        for arm in ("control", "new"):
            ask(live, arm)
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def reload(n):
        for i in range(n):
            write_config(folder_of_models, more=f"{SIDE_EFFECTS}\n# {np.random.default_rng().random()} {i}\n")
            assert live.reload()
        return counts()

    n_files, n_threads = reload(2)
    n_files_later, n_threads_later = reload(20)
    assert n_files_later < n_files + 10  # the store opens a connection now and then
    assert n_threads_later <= n_threads


def test_inspect_names_the_bundle_of_an_arm(folder_of_models, capsys):
    assert main(["inspect", str(folder_of_models / "karec.toml"), "--json"]) == 0
    assert "bundle = 'other'" in capsys.readouterr().out
