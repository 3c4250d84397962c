"""Needs of all steps are checked when a scene is loaded, not by the first request."""

import re

import numpy as np
import pytest

from karec.config import load_cascade
from karec.config.check import config_mistakes
from karec.errors import ConfigError, Unavailable
from karec.pipeline.step import Filter, QueryHydrator, Scorer, SideEffect
from karec.pipeline.types import Request

RANDOM = "karec.lab.simulate.random_order:RandomOrder"
SCENE = """
bundle = "bundles"

[scenes.home]
query = REQUEST
limits = { recall = 8 }
recall = [{ use = "popular", quota = 8 }]
stages = [
    { name = "prerank", steps = [PRERANK] },
    { name = "rank", steps = [{ use = "top_k" }] },
]
side_effects = OBSERVERS
"""


class GivesVector(QueryHydrator):
    """A user tower outside karec."""

    gives = ("request.user_vector",)

    def hydrate_request(self, request):
        return {"user_vector": np.eye(10, dtype=np.float32)[:1]}


class SaysNothing(Filter):
    """Declares neither needs nor gives."""

    def keep(self, request, candidates):
        return np.ones(len(candidates), bool)


class NeedsMood(Scorer):
    needs = ("column.mood",)

    def score(self, request, candidates):
        return candidates.columns["mood"]


class Watches(SideEffect):
    needs = ("column.logits",)

    def run(self, request, page):
        return None


@pytest.fixture
def build(write_config):
    def build(prerank, request="[]", observers="[]"):
        text = SCENE.replace("REQUEST", request).replace("PRERANK", prerank).replace("OBSERVERS", observers)
        return load_cascade(write_config(text), "home")

    return build


def of(step):
    return f'{{ use = "{__name__}:{step.__name__}" }}'


ROWS, PRODUCT = '{ use = "index_rows" }', '{ use = "inner_product", k = 5, on_failure = "skip" }'


def test_load_refuses_a_missing_user_tower_if_the_step_may_be_skipped(build):
    with pytest.raises(ConfigError) as caught:
        build(f"{ROWS}, {PRODUCT}")
    assert str(caught.value).endswith(
        "karec.toml: scenes.home.stages[0].steps[1]: the step inner_product needs request.user_vector: "
        "put user_tower into scenes.home.query"
    )


def test_query_hydrator_outside_karec_satisfies_the_needs_of_later_steps(build):
    assert len(build(f"{ROWS}, {PRODUCT}", f"[{of(GivesVector)}]").run(Request(1, k=3))) == 3


@pytest.mark.parametrize(
    ("prerank", "message"),
    [
        (PRODUCT, r"steps\[0\]: the step inner_product needs rows: put index_rows before it"),
        (
            f"{PRODUCT}, {ROWS}",
            r"the step inner_product needs rows: index_rows gives it: put it before inner_product",
        ),
        (
            '{ use = "quota", column = "song_id", at_most = 1 }',
            "the step quota needs rows: put index_rows before it",
        ),
        (
            of(NeedsMood),
            r"NeedsMood needs column\.mood: no step of karec gives it: a step of your own must declare gives",
        ),
    ],
)
def test_load_names_a_missing_need_and_the_step_that_gives_it(build, prerank, message):
    with pytest.raises(ConfigError, match=message):
        build(prerank, f"[{of(GivesVector)}]")


SKIPPED_VECTOR = "[" + of(GivesVector).replace("}", ', on_failure = "skip" }') + "]"


def test_output_of_a_skippable_step_satisfies_only_skippable_steps(build):
    must_not_fail = '{ use = "inner_product", k = 5 }'
    with pytest.raises(ConfigError) as caught:
        build(f"{ROWS}, {must_not_fail}", SKIPPED_VECTOR)
    assert str(caught.value).endswith(
        "scenes.home.stages[0].steps[1]: the step inner_product needs request.user_vector, which is missing "
        'when GivesVector fails and is skipped: give inner_product on_failure = "skip" too, or GivesVector '
        'on_failure = "fail"'
    )
    build(f"{ROWS}, {PRODUCT}", SKIPPED_VECTOR)
    build(
        f"{ROWS}, {must_not_fail}",
        SKIPPED_VECTOR[:-1] + f", {of(GivesVector)}]".replace(" }", ', name = "second" }'),
    )


def test_page_names_steps_without_user_vector_if_the_tower_fails(build, monkeypatch):
    def fails(step, request):
        raise Unavailable("the tower is down")

    monkeypatch.setattr(GivesVector, "hydrate_request", fails)
    feed = build(f"{ROWS}, {PRODUCT}", SKIPPED_VECTOR).run(Request(1, k=3))
    assert feed.degraded == ("request.GivesVector", "prerank.inner_product")
    failures = [step.failure for step in feed.trace.steps if step.failure]
    assert failures[0] == "Unavailable: the tower is down"
    assert "the request has no user_vector: the step that gives it failed" in failures[1]


def test_load_refuses_a_source_without_its_needs(write_config):
    text = SCENE.replace("REQUEST", "[]").replace("PRERANK", ROWS).replace("OBSERVERS", "[]")
    text = text.replace('use = "popular", quota = 8', 'use = "model", quota = 8, on_failure = "skip"')
    with pytest.raises(
        ConfigError, match=r"recall\[0\]: the step model needs request\.user_vector: put user_tower into"
    ):
        load_cascade(write_config(text), "home")


def test_load_refuses_a_side_effect_without_its_needs(build):
    with pytest.raises(
        ConfigError, match=r"side_effects\[0\]: the step Watches needs column\.logits: put ranker into a st"
    ):
        build(ROWS, observers=f"[{of(Watches)}]")


def test_step_without_declared_needs_has_no_needs(build):
    assert len(build(of(SaysNothing)).run(Request(1, k=3))) == 3


class NeedsVector(QueryHydrator):
    needs = ("request.user_vector",)

    def hydrate_request(self, request):
        return {}


def test_query_hydrator_needs_the_output_of_earlier_query_hydrators(build):
    build(ROWS, request=f"[{of(GivesVector)}, {of(NeedsVector)}]")
    with pytest.raises(
        ConfigError,
        match=r"query\[0\]: the step NeedsVector needs request\.user_vector: GivesVector gives it: put it "
        r"before",
    ):
        build(ROWS, request=f"[{of(NeedsVector)}, {of(GivesVector)}]")


def test_load_refuses_a_side_effect_with_on_failure(build):
    observer = of(Watches).replace("}", ', on_failure = "fail" }')
    with pytest.raises(
        ConfigError,
        match=r"side_effects\[0\]: Watches runs after the page was returned and cannot fail it: remove "
        r"on_failure$",
    ):
        build(ROWS, observers=f"[{observer}]")


class WatchesNothing(SideEffect):
    stages = ("rerank",)

    def run(self, request, page):
        return None


RANDOM_POSITION = '{ use = "random_position", share = 0.1, n = 5 }'


RANK_LOG = '{ use = "rank_log", folder = "log" }'


@pytest.mark.parametrize(
    ("rank", "side_effects", "message"),
    [
        (RANDOM_POSITION, RANK_LOG, ""),
        ('{ use = "top_k", k = 6 }, ' + RANDOM_POSITION, RANK_LOG, ""),
        (
            RANDOM_POSITION + ', { use = "top_k" }',
            RANK_LOG,
            "random_position is followed by other steps, expected the last step of the last stage",
        ),
        (
            RANDOM_POSITION,
            "",
            "random_position needs the side effect rank_log, which logs its propensities: add "
            '{ use = "rank_log", folder = "rank_log" } to side_effects',
        ),
    ],
)
def test_random_position_is_last_and_logged(write_config, rank, side_effects, message):
    text = SCENE.replace("OBSERVERS", f"[{side_effects}]").replace("REQUEST", "[]")
    path = write_config(text.replace("PRERANK", "").replace('{ use = "top_k" }', rank))
    expected = [f"{path}:10: scenes.home.stages[1].steps[0]: {message}"] if message else []
    assert config_mistakes(path) == expected
    if message:
        with pytest.raises(ConfigError, match=re.escape(message)):
            load_cascade(path, "home")


def test_load_refuses_a_side_effect_of_an_unknown_stage(build):
    with pytest.raises(
        ConfigError,
        match=r"side_effects\[0\]: WatchesNothing reads the stage 'rerank'; there are \['prerank', 'rank'\]$",
    ):
        build(ROWS, observers=f"[{of(WatchesNothing)}]")


FALLBACK = """bundle = "bundles"
[scenes.home]
limits = { recall = 8 }
recall = [{ use = "popular", quota = 8 }]
[[scenes.home.stages]]
name = "prerank"
steps = [{ use = "index_rows" }, { use = "top_k", k = 5 }]
fallback = [FALLBACK]
[[scenes.home.stages]]
name = "rerank"
steps = [LAST{ use = "top_k" }]
"""


@pytest.mark.parametrize(
    ("fallback", "last", "message"),
    [
        ('{ use = "top_k", k = 4 }', "", r"stages\[0\]\.fallback: the fallback keeps 4 items \(top_k\)"),
        (
            '{ use = "top_k", k = 5 }',
            '{ use = "has_embedding" }, ',
            "has_embedding needs rows, which the fallback of the stage prerank does not give",
        ),
    ],
)
def test_fallback_that_keeps_or_gives_too_little_is_refused(write_config, fallback, last, message):
    text = FALLBACK.replace("FALLBACK", fallback).replace("LAST", last)
    with pytest.raises(ConfigError, match=message):
        load_cascade(write_config(text), "home")


def test_fallback_that_gives_what_later_steps_need_is_built(write_config):
    text = FALLBACK.replace("FALLBACK", '{ use = "index_rows" }, { use = "top_k", k = 5 }')
    cascade = load_cascade(write_config(text.replace("LAST", '{ use = "has_embedding" }, ')), "home")
    assert [step.name for step in cascade.stages[0].fallback] == ["index_rows", "top_k"]


def test_scene_with_33_sources_is_refused_with_its_place(write_config):
    sources = ", ".join(f'{{ use = "popular", quota = 1, name = "popular {i}" }}' for i in range(33))
    text = SCENE.replace('{ use = "popular", quota = 8 }', sources).replace("PRERANK", ROWS)
    text = text.replace("REQUEST", "[]").replace("OBSERVERS", "[]")
    with pytest.raises(ConfigError, match=r"scenes\.home\.recall: 33 sources, expected at most 32"):
        load_cascade(write_config(text), "home")


def test_step_named_as_an_exposure_step_keeps_its_place(build):
    named = f'{{ use = "{__name__}:SaysNothing", name = "exposure_control" }}'
    with pytest.raises(ConfigError, match=r"stages\[0\]\.steps\[1\]: the step NeedsMood needs column\.mood"):
        build(f"{named}, {of(NeedsMood)}")
