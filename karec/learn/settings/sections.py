"""The tables of a settings file: one frozen dataclass for each concern of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from karec.errors import ConfigError
from karec.learn.settings.fields import Checked, setting
from karec.learn.settings.recipes import AUTO, RECIPES
from karec.toml import refuse_removed


@dataclass(frozen=True)
class FeatureSettings(Checked):
    """[features]: what models see, and the size of its embeddings."""

    history_length: int = setting(
        0, "last works of a user that models see; 0: 100 where towers match, else 30", at_least=0
    )
    min_count: int = setting(
        0,
        "training rows that must hold a value before it has an embedding of its own; 0: 20, and of N > 10⁶ "
        "training rows 20·√(N/10⁶)",
        at_least=0,
    )
    user_min_count: int = setting(3, "the same for users, in the user tower", above=0)
    refresh_hours: float = setting(
        24.0,
        "features are as of the last multiple of so many hours, as when serving from a published snapshot; "
        "0: as of the row's own moment, for a service with live features",
        at_least=0,
    )
    dim: int = setting(16, "size of an item code's embedding; even, since a user's code has half", above=0)
    bins: int = setting(8, "pieces of a number's piecewise linear effect", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % 2:
            raise ConfigError(f"dim = {self.dim}, expected an even number")


@dataclass(frozen=True)
class OptimizerSettings(Checked):
    """[optimizer]: one-cycle AdamW with early stopping, of the ranker and of the towers."""

    batch_size: int = setting(256, "rows in a step", above=0)
    learning_rate: float = setting(1e-3, "the highest of the one-cycle schedule", above=0)
    weight_decay: float = setting(1.0, "of embeddings; other weights have none", at_least=0)
    patience: int = setting(2, "epochs without a better validation score before a training stops", above=0)


@dataclass(frozen=True)
class RankerSettings(Checked):
    """[ranker]: the model that ranks, and whose log the towers learn from."""

    kind: Literal["mmoe", "lr", "lightgbm", "both"] = setting(
        "mmoe",
        "multi-gate mixture of experts, logistic regression, boosted trees, or both: the calibrated mean of "
        "mmoe and lightgbm",
    )
    epochs: int = setting(3, "epochs at most; the best on validation is kept", above=0)
    members: int = setting(4, "small MMoEs over the same embeddings, whose mean ranks", above=0)
    experts: int = setting(4, "experts of a member", above=0)
    hidden: int = setting(32, "width of an expert", at_least=2)
    dropout: float = setting(0.1, "share of hidden units dropped while training", at_least=0, at_most=1)
    id_dropout: float = setting(
        0.3, "share of work, creator and song ids hidden while training", at_least=0, at_most=1
    )
    auxiliary: tuple[str, ...] = setting(
        ("followed", "play_time"),
        "learned besides the tasks: labels, what says enjoyed, liked or followed, and play_time; what the "
        "data cannot teach is left out",
    )


@dataclass(frozen=True)
class TowerSettings(Checked):
    """[towers]: the user tower and the item tower."""

    kind: Literal["full", "static"] = setting(
        "full", "full, or static: without counters and rates, for item vectors that are refreshed rarely"
    )
    matching: Literal["auto", True, False] = setting(
        "auto",
        "towers also compare a work with the user's lists code by code; auto: where histories are long and "
        "creators have several works",
    )
    epochs: int = setting(5, "epochs at most; the best on validation is kept", above=0)
    hidden: int = setting(128, "width of the hidden layers", above=0)
    vector: int = setting(64, "D, the dimensions of the vectors", above=0)
    id_dropout: float = setting(
        0.1, "share of work, creator, song and user ids hidden while training", at_least=0, at_most=1
    )
    profile_dropout: float = setting(
        0.05,
        "share of rows whose user's profile is hidden while training, as a new user's is",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True)
class DistilSettings(Checked):
    """[distil]: what the towers learn from."""

    recipe: str = setting(
        "auto",
        "which losses teach the towers; it sets other keys of this table, which a file may overrule; auto: "
        "retrieval for a log of positives alone, list for any other",
    )
    ranker_features: Literal["all", "towers"] = setting(
        "all", "all, or towers: a ranker without cross features, which sees what the towers see"
    )
    label_weight: float = setting(1.0, "weight of hard and soft labels of the log's rows", at_least=0)
    soft_weight: float = setting(
        0.8, "λ, share of soft labels in the loss; hard labels have the rest", at_least=0, at_most=1
    )
    list_weight: float = setting(1.0, "β, weight of the list loss", at_least=0)
    pool_weight: float = setting(
        1.0, "weight of soft labels of every head for works in logged lists, shown or not", at_least=0
    )
    retrieval_weight: float = setting(
        0.0,
        "weight of the contrast of what a user took with what others took and works of the library",
        at_least=0,
    )
    library_works: int = setting(
        2048, "works of the library, drawn evenly, in a step of that contrast", above=0
    )
    history_dropout: float = setting(
        0.5, "share of a history hidden while that contrast learns from the rest", at_least=0, at_most=1
    )
    temperature: float = setting(2.0, "T, temperature of the soft labels", above=0)
    list_temperature: float = setting(0.5, "τ, temperature of the list loss", above=0)
    contrast_temperature: float = setting(0.1, "temperature of that contrast", above=0)
    list_works: int = setting(40, "works of a logged pool that make a list, at most shadow.works", at_least=2)
    lists_per_step: int = setting(16, "logged lists in a step", above=0)
    warm_up: float = setting(
        0.05, "share of the towers' steps before soft labels and lists count", at_least=0, at_most=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_removed("recipe", self.recipe)
        if self.recipe not in (AUTO, *RECIPES):
            raise ConfigError(f"recipe = {self.recipe!r}, expected one of {(AUTO, *RECIPES)}")

    @property
    def needs_lists(self) -> bool:
        """Whether a loss reads logged lists."""
        return max(self.list_weight, self.pool_weight) > 0


@dataclass(frozen=True)
class RecallSettings(Checked):
    """[recall]: towers of their own for the recall channel ``model``, which learn the set that a user
    enjoys."""

    on: bool = setting(False, "train recall towers; else the channel searches with prerank's vectors")
    epochs: int = setting(2, "epochs at most; the best on validation is kept", above=0)
    vector: int = setting(64, "dimensions of their vectors", above=0)
    temperature: float = setting(0.1, "of the softmax over candidates", above=0)
    negatives: int = setting(
        512, "works drawn evenly from the library in a step, besides the batch's own", above=0
    )


@dataclass(frozen=True)
class ShadowSettings(Checked):
    """[shadow]: the whole pools in the first rank log, which the ranker writes over the training days."""

    share: float = setting(
        0.05, "share of the training days' requests that have a pool", at_least=0, at_most=1
    )
    at_most: int = setting(10_000, "requests with a pool, at most", above=0)
    works: int = setting(200, "works in a pool", above=0)


@dataclass(frozen=True)
class EvaluationSettings(Checked):
    """[evaluation]: what the models are compared with on the test days."""

    baselines: tuple[Literal["lr", "lightgbm", "hard"], ...] = setting(
        ("lr",),
        "models trained only for comparison: lr, lightgbm, and hard, towers of these settings that learn "
        "from labels alone; popularity and rates are always there",
    )
    resamples: int = setting(200, "bootstrap draws of users, for the intervals", above=0)


@dataclass(frozen=True)
class RunSettings(Checked):
    """[run]: where a training runs, and what it writes as it goes. Of these, device and threads change
    models, by rounding alone."""

    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto (CUDA where there is a device), cpu or cuda"
    )
    threads: int = setting(
        0,
        "CPU threads; 0: as many as torch finds. Models that train beside each other have half each",
        at_least=0,
    )
    checkpoint_steps: int = setting(200, "steps between checkpoints; a kill loses at most so many", above=0)
    tensorboard: bool = setting(False, "the curves are written as TensorBoard's event files too")
