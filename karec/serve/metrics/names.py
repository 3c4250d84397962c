"""Every metric that /metrics gives: its kind, its labels, how workers' values become one, and what it says.

Counters and histograms are summed over all workers there ever were. Of gauges, which only living workers
have, ``SUM`` adds them, ``MOST`` takes the largest (of ages and lags: the worst), ``EACH`` keeps one for each
worker, by its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

REQUESTS_EDGES, STEPS_EDGES = 1, 4  # of the histogram's edges: each one, each fourth


class Over(Enum):
    """How the values of several workers become one."""

    SUM = auto()
    MOST = auto()
    EACH = auto()


@dataclass(frozen=True)
class Metric:
    """``over`` None: a counter."""

    name: str
    labels: tuple[str, ...]
    help: str
    over: Over | None = None


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


STEP_LABELS = ("scene", "stage", "step", "role")
STEPS = _by_name(
    Metric(
        "karec_step_calls",
        STEP_LABELS,
        "Calls of a step, or of a step of the fallback of its stage.",
    ),
    Metric("karec_step_works_in", STEP_LABELS, "Works that came into a step."),
    Metric("karec_step_works_out", STEP_LABELS, "Works that a step left."),
    Metric(
        "karec_step_failures",
        STEP_LABELS,
        "Calls of a step that failed and was skipped.",
    ),
)
STEP_SECONDS = Metric("karec_step_seconds", STEP_LABELS, "How long a step took.")
STAGES = _by_name(
    Metric(
        "karec_stage_works_in",
        ("scene", "stage"),
        "Works that came into a stage; of recall, those that were found.",
    ),
    Metric("karec_stage_works_out", ("scene", "stage"), "Works that a stage left."),
)
STAGE_SECONDS = Metric("karec_stage_seconds", ("scene", "stage"), "How long the steps of a stage took.")
ANSWERS = _by_name(
    Metric("karec_answers", ("scene",), "Feeds that were answered."),
    Metric("karec_answers_degraded", ("scene",), "Feeds in which a step failed or was replaced."),
    Metric("karec_answers_works_wanted", ("scene",), "Works that requests asked for."),
    Metric("karec_answers_works", ("scene",), "Works that were answered."),
)
ANSWER_SECONDS = Metric("karec_answer_seconds", ("scene",), "How long a feed took.")

NAMED = _by_name(
    Metric("karec_degraded", ("scene", "what"), "Feeds whose `degraded` named this."),
    Metric("karec_no_time", ("scene", "place"), "Pages for which the fallback of this stage ran."),
    Metric("karec_answers_cold", ("scene",), "Feeds of users who are unknown."),
    Metric("karec_answers_short", ("scene",), "Feeds with fewer works than were asked for."),
    Metric("karec_requests", ("route", "status"), "HTTP requests by route and status."),
    Metric(
        "karec_refused",
        ("reason",),
        "Requests refused by admission, or not begun: late, or without their client.",
    ),
    Metric("karec_events", (), "Events that were put into the log."),
    Metric("karec_events_refused", ("reason",), "Events that were refused."),
    Metric("karec_observer_seen", ("scene", "observer"), "Answers that an observer was offered."),
    Metric(
        "karec_observer_lost", ("scene", "observer", "why"), "Answers that an observer dropped or failed on."
    ),
    Metric("karec_reloads", ("outcome",), "Reloads of bundle or settings: done, refused."),
    Metric("karec_metrics_lost", ("what",), "What these metrics lost or left out, by what."),
)

READ = _by_name(
    Metric(
        "karec_index_rows", ("space", "model_version"), "Rows of the item index by model version.", Over.MOST
    ),
    Metric("karec_index_generation", ("space",), "Generation of the item index.", Over.MOST),
    Metric("karec_bundle", ("bundle", "model_version"), "Workers that serve this bundle.", Over.SUM),
    Metric("karec_bundle_age_seconds", (), "Age of the bundle's snapshot.", Over.MOST),
    Metric("karec_vectors_age_seconds", ("which",), "Age of vectors: youngest, median, oldest.", Over.MOST),
    Metric("karec_refresh_round", (), "Round of the library's refresh; 0: none.", Over.MOST),
    Metric("karec_refresh_share", (), "Share of the library that the round has done.", Over.MOST),
    Metric("karec_state_events_behind", (), "Events in the log that the state store lacks.", Over.MOST),
    Metric(
        "karec_state_seconds_behind", (), "Age of the oldest event that the state store lacks.", Over.MOST
    ),
    Metric(
        "karec_exposure_share", ("scene", "target"), "Share of shown works that a target measures.", Over.MOST
    ),
    Metric("karec_exposure_price", ("scene", "target"), "Price by which a target moves scores.", Over.MOST),
    Metric(
        "karec_exposure_unmet",
        ("scene", "what"),
        "1 of a target or cap whose price is at its bound.",
        Over.MOST,
    ),
    Metric("karec_observer_pending", ("scene", "observer"), "Answers that wait for an observer.", Over.SUM),
    Metric(
        "karec_worker_rss_bytes",
        ("worker",),
        "Resident memory; shared pages count in each worker.",
        Over.EACH,
    ),
    Metric("karec_worker_pss_bytes", ("worker",), "Memory; shared pages count by their share.", Over.EACH),
    Metric("karec_worker_cpu_seconds", ("worker",), "Processor time since the worker began.", Over.EACH),
    Metric("karec_worker_start_seconds", ("worker",), "When the worker began, Unix time.", Over.EACH),
)

WINDOW = ("exposure", "window")
ECOSYSTEM = _by_name(
    Metric("karec_ecosystem_exposures", WINDOW, "Exposures in the window.", Over.MOST),
    Metric(
        "karec_ecosystem_creators_gini",
        WINDOW,
        "Gini of exposures over all creators of the catalogue.",
        Over.MOST,
    ),
    Metric("karec_ecosystem_creators", WINDOW, "Creators with an exposure in the window.", Over.MOST),
    Metric("karec_ecosystem_works", WINDOW, "Works with an exposure in the window.", Over.MOST),
    Metric("karec_ecosystem_works_first", WINDOW, "Works that were exposed for the first time.", Over.MOST),
    Metric(
        "karec_ecosystem_young_share",
        (*WINDOW, "hours"),
        "Share of exposures younger than so much.",
        Over.MOST,
    ),
    Metric("karec_ecosystem_type_share", (*WINDOW, "type"), "Share of exposures by type of work.", Over.MOST),
)
