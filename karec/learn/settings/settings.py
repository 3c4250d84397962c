"""Settings of a training run, from Python or from a TOML file with one table for each section.

docs/training.md explains each key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from msgspec import Meta

from karec.catalog.dataset import Dataset
from karec.errors import ConfigError
from karec.learn.settings.from_data import (
    HISTORY_LENGTH,
    LONG_HISTORY_LENGTH,
    LONG_HISTORY_VALUES,
    SMALL_LOG_VALUES,
    SMALL_ROWS,
    Rule,
    has_long_histories,
    min_count,
)
from karec.models.fusion import ObjectiveWeights
from karec.samples.arms import ArmRows
from karec.toml import (
    Count,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Place,
    Positive,
    Settings,
    convert,
    read_toml,
    toml_value,
)

QUICK_STEPS = 2000
AUTO = "auto"
RecipeName = Literal[
    "auto", "hard", "model-distillation", "feature-distillation", "pools", "list", "retrieval"
]
AtLeastTwo = Annotated[int, Meta(ge=2)]


def _read_recipes() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    folder = files("karec.learn.settings").joinpath("recipes")
    recipes = {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in folder.iterdir()}
    return {name: tomllib.loads(text) for name, text in sorted(recipes.items())}


RECIPES = _read_recipes()
"""{recipe: {table: {key: value}}}. `distil` sets the losses of the towers. The other tables hold for keys
that the settings leave at their defaults."""


class FeatureSettings(Settings, frozen=True):
    """[features]: inputs of the models and the sizes of their embeddings."""

    history_length: NonNegativeInt = 0  # last items of a user; 0: by the data
    min_count: NonNegativeInt = 0  # training rows from which a value has its own embedding; 0: by the data
    user_min_count: Count = 3  # the same for users, in the user tower
    refresh_hours: NonNegative = 24.0  # features are as of the last multiple; 0: as of the row's time
    dim: Count = 16  # size of an item code's embedding; even, because a user's code has half
    bins: Count = 8  # pieces of a number's piecewise linear effect

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % 2:
            raise ConfigError(f"dim = {self.dim}, expected an even number")


class OptimizerSettings(Settings, frozen=True):
    """[optimizer]: one-cycle AdamW with early stopping, for the ranker and for the towers."""

    batch_size: Count = 256  # rows in a step
    learning_rate: Positive = 1e-3  # the highest of the one-cycle schedule
    weight_decay: NonNegative = 1.0  # weight decay of embeddings; other weights have none
    patience: Count = 2  # epochs without a better validation score before training stops


class RankerSettings(Settings, frozen=True):
    """[ranker]: the model that ranks, and whose log the towers learn from."""

    kind: Literal["auto", "mmoe", "lr", "lightgbm"] = "auto"  # auto: lr for a small log, else mmoe
    epochs: Count = 3  # at most; the best on validation is kept
    members: Count = 4  # small MMoEs over the same embeddings, whose mean ranks
    experts: Count = 4  # experts of a member
    hidden: AtLeastTwo = 32  # width of an expert
    dropout: Fraction = 0.1  # fraction of hidden units dropped in training
    id_dropout: Fraction = 0.3  # fraction of item, creator and song ids hidden in training
    # learned in addition to the tasks; names without usable labels in the data are skipped
    auxiliary: tuple[str, ...] = ("followed", "play_time")


class TowerSettings(Settings, frozen=True):
    """[towers]: the user tower and the item tower."""

    wide: bool = True  # with logged lists, the score also has a linear part over cross features
    epochs: Count = 5  # at most; the best on validation is kept
    hidden: Count = 128  # width of the hidden layers
    vector: Count = 64  # D, the dimensions of the vectors
    id_dropout: Fraction = 0.1  # fraction of item, creator, song and user ids hidden in training
    profile_dropout: Fraction = 0.05  # fraction of rows whose user's profile is hidden, as for a new user


class DistilSettings(Settings, frozen=True):
    """[distil]: the losses of the towers."""

    recipe: RecipeName = "auto"  # auto: retrieval for a log of positives only, list for any other
    ranker_features: Literal["all", "towers"] = "all"  # towers: a ranker without cross features
    label_weight: NonNegative = 1.0  # weight of hard and soft labels of the log's rows
    soft_weight: Fraction = 0.8  # λ, the fraction of soft labels in the loss; the rest is hard labels
    list_weight: NonNegative = 1.0  # β, weight of the list loss
    pool_weight: NonNegative = 1.0  # weight of soft labels of items in logged lists, shown or not
    retrieval_weight: NonNegative = (
        0.0  # weight of the contrast of a chosen item with others and library items
    )
    library_works: Count = 2048  # items sampled uniformly from the library in a step of that contrast
    history_dropout: Fraction = 0.5  # fraction of a history hidden in that contrast
    temperature: Positive = 2.0  # T, temperature of the soft labels
    list_temperature: Positive = 0.5  # τ, temperature of the list loss
    contrast_temperature: Positive = 0.1  # temperature of the contrast
    list_works: AtLeastTwo = 40  # items of a logged pool that make a list, at most shadow.works
    lists_per_step: Count = 16  # logged lists in a step
    warm_up: Fraction = 0.05  # fraction of the towers' steps before soft labels and lists are used

    @property
    def needs_lists(self) -> bool:
        """True if a loss reads logged lists."""
        return max(self.list_weight, self.pool_weight) > 0

    @property
    def has_teacher(self) -> bool:
        """True if the towers learn from the ranker."""
        return self.soft_weight > 0 or self.needs_lists


class ShadowSettings(Settings, frozen=True):
    """[shadow]: whole pools in the first rank log, which the ranker writes for the training days."""

    share: Fraction = 0.05  # fraction of the requests of the training days with a pool
    at_most: Count = 10_000  # most requests with a pool
    works: Count = 200  # items in a pool


class EvaluationSettings(Settings, frozen=True):
    """[evaluation]: models that are trained only for comparison on the test days."""

    baselines: tuple[Literal["lr", "lightgbm"], ...] = ("lr",)
    resamples: Count = 200  # bootstrap resamples of users, for the intervals


class ExperimentSettings(Settings, frozen=True):
    """[experiment]: selects rows of served requests by the arm that the rank log has for their request."""

    name: str = ""  # the experiment; "": rows of all requests
    arm: str = ""  # the arm that the models will serve
    other_arms: Fraction = 0.0  # fraction of the requests of other arms that are used; 1: pooled learning

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.name) != bool(self.arm):
            raise ConfigError(f"name = {self.name!r} and arm = {self.arm!r}, expected both or none")

    @property
    def rows(self) -> ArmRows | None:
        """None: rows of all requests."""
        return ArmRows(self.name, self.arm, self.other_arms) if self.name else None


class RunSettings(Settings, frozen=True):
    """[run]: the machine, and files written in training. Device and threads change only rounding."""

    rows: Literal["memory", "disk"] = (
        "memory"  # encoded training rows; disk: RUN/rows, read in random batches
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: NonNegativeInt = 0  # threads of the CPU; 0: as many as torch finds
    checkpoint_steps: Count = 200  # steps between checkpoints
    sharded_rows: Count = 1_000_000  # with --workers, they divide embedding tables of at least this many rows
    final_fit: bool = True  # after the test, fit the models that are published on the whole log


class TrainSettings(Settings, frozen=True):
    """The settings of a training run."""

    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0  # LightGBM's is an int32
    model_version: NonNegativeInt = 1  # written into every model; `karec train` sets it
    fusion: Mapping[str, NonNegative] = {}  # task weights in the fused score; empty: those of the data
    task_weights: Mapping[str, NonNegative] = {}  # weights in the losses, also of the head `fused`; others: 1
    features: FeatureSettings = FeatureSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    ranker: RankerSettings = RankerSettings()
    towers: TowerSettings = TowerSettings()
    distil: DistilSettings = DistilSettings()
    shadow: ShadowSettings = ShadowSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    run: RunSettings = RunSettings()

    @property
    def has_matching_towers(self) -> bool:
        """True if towers match (``karec.learn.nets.matching``): in recipe retrieval, which reads vectors."""
        return self.distil.retrieval_weight > 0 and not self.distil.needs_lists

    @property
    def has_wide_towers(self) -> bool:
        """True if towers have a wide part (``karec.learn.nets.wide``), which logged lists teach."""
        return self.towers.wide and self.distil.needs_lists

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            ObjectiveWeights(self.fusion or {"": 1.0})
        except ValueError as error:
            raise ConfigError(f"fusion = {dict(self.fusion)}: {error}") from error
        if self.distil.list_works > self.shadow.works:
            raise ConfigError(
                f"distil.list_works = {self.distil.list_works}, expected at most shadow.works = "
                f"{self.shadow.works}"
            )

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Reads a TOML file. Raises ConfigError with a line for each mistake."""
        table, place = read_toml(path), Place(path)
        distil = table.get("distil")
        recipe = distil.get("recipe") if isinstance(distil, dict) else None
        is_known = isinstance(recipe, str) and recipe in RECIPES
        return convert(cls, table, place, base=cls().with_recipe(str(recipe)) if is_known else cls())

    def to_toml(self) -> str:
        """Returns the text of a file that `from_toml` reads as these settings, without the model version."""
        values = {key: value for key, value in self.to_dict().items() if key != "model_version"}
        sections = {key for key in values if isinstance(getattr(self, key), Settings)}
        lines = [f"{key} = {toml_value(value)}" for key, value in values.items() if key not in sections]
        for section in (name for name in values if name in sections):
            lines += ["", f"[{section}]"]
            lines += [f"{key} = {toml_value(value)}" for key, value in values[section].items()]
        return "\n".join(lines) + "\n"

    def with_recipe(self, name: str) -> Self:
        """Returns these settings with the losses of a recipe. Raises ConfigError if it does not exist."""
        return self.replace(distil={"recipe": name, **RECIPES.get(name, {}).get("distil", {})})

    def with_online_inputs(self) -> Self:
        """Returns settings for a service with an online store: features are as of the row's time.

        Another value of ``features.refresh_hours`` than the default stays.
        """
        return self._set_where_default({"features": {"refresh_hours": 0.0}})

    def quick(self, rows: int) -> Self:
        """Returns settings for a first look at `rows` training rows.

        Epochs are as many as make QUICK_STEPS steps, at least one and at most those of these settings. If one
        epoch is enough, the ranker has one member.
        """
        epochs = -(-QUICK_STEPS * self.optimizer.batch_size // max(rows, 1))
        ranker = {"epochs": min(epochs, self.ranker.epochs), **({"members": 1} if epochs == 1 else {})}
        return self.replace(
            ranker=ranker,
            towers={"epochs": min(epochs, self.towers.epochs)},
            features={"history_length": self.features.history_length or HISTORY_LENGTH},
            evaluation={"resamples": 50},
        )

    def resolve(self, dataset: Dataset) -> Self:
        """Returns the settings of a training on `dataset`, with the values that depend on the data."""
        return self.resolve_with_rules(dataset)[0]

    def resolve_with_rules(self, dataset: Dataset) -> tuple[Self, list[Rule]]:
        """Returns the settings of a training on `dataset`, and the rules that set some of them."""
        rules: list[Rule] = []
        n_rows = len(dataset.split()[0])
        size = (
            f"{n_rows:,} training rows, {'fewer than' if n_rows < SMALL_ROWS else 'at least'} {SMALL_ROWS:,}"
        )
        meaning = asdict(dataset.snapshot.meaning)
        auxiliary = [label for name in self.ranker.auxiliary for label in meaning.get(name, (name,))]
        weights = {
            label: weight for name, weight in self.fusion.items() for label in meaning.get(name, (name,))
        }
        settings = self.replace(
            fusion=weights or dataset.objectives, ranker={"auxiliary": tuple(dict.fromkeys(auxiliary))}
        )
        if settings.distil.recipe == AUTO:
            settings = settings._resolve_recipe(has_only_positives=dataset.drawn is not None)
            has = "only positives" if dataset.drawn is not None else "impressions"
            rules.append(Rule("distil.recipe", settings.distil.recipe, f"the log has {has}"))
        settings = settings._set_where_default(
            {name: keys for name, keys in RECIPES[settings.distil.recipe].items() if name != "distil"}
        )
        if settings.ranker.kind == AUTO:
            kind, reason = settings._choose_ranker(dataset, n_rows)
            settings = settings.replace(ranker={"kind": kind})
            rules.append(Rule("ranker.kind", kind, reason or size))
        if settings.features.history_length == 0:
            is_long = has_long_histories(dataset)
            is_small = settings.ranker.kind == "lr" and n_rows < SMALL_ROWS and settings.distil.needs_lists
            if is_long:
                settings = settings._set_where_default(SMALL_LOG_VALUES if is_small else LONG_HISTORY_VALUES)
            length = LONG_HISTORY_LENGTH if is_long else HISTORY_LENGTH
            settings = settings.replace(features={"history_length": length})
            reason = (
                "histories are long, and creators or categories have several items"
                if is_long
                else "histories are short, or creators and categories have few items"
            )
            rules.append(Rule("features.history_length", length, reason))
        if settings.features.min_count == 0:
            settings = settings.replace(features={"min_count": min_count(n_rows)})
            rules.append(Rule("features.min_count", settings.features.min_count, size))
        return settings, rules

    def _choose_ranker(self, dataset: Dataset, n_rows: int) -> tuple[str, str]:
        """Returns the kind of ranker and the reason, "" for the number of rows."""
        if self.distil.ranker_features == "towers":
            return "mmoe", "recipe model-distillation needs a ranker without cross features"
        if set(self.fusion) - set(dataset.tasks):
            return "mmoe", "only mmoe learns the auxiliary tasks that fusion weighs"
        return ("lr", "") if n_rows < SMALL_ROWS else ("mmoe", "")

    def _resolve_recipe(self, *, has_only_positives: bool) -> Self:
        """Returns settings with the recipe of "auto". Losses that were set without a recipe stay."""
        defaults = DistilSettings()
        losses = RECIPES["list"]["distil"]
        is_default = all(getattr(self.distil, key) == getattr(defaults, key) for key in losses)
        name = "retrieval" if has_only_positives and is_default else "list"
        return self.with_recipe(name) if is_default else self.replace(distil={"recipe": name})

    def _set_where_default(self, values: Mapping[str, Mapping[str, Any]]) -> Self:
        """Returns settings with `values`, {section: {key: value}}, of keys that have their defaults."""
        changes = {}
        for name, keys in values.items():
            section = getattr(self, name)
            defaults = type(section)()
            changes[name] = {
                key: value for key, value in keys.items() if getattr(section, key) == getattr(defaults, key)
            }
        return self.replace(**changes)


def read_run_settings(folder: Path, run: Mapping[str, Any]) -> TrainSettings:
    """Returns the settings of the run in `folder`; `run` is the content of its run.json.

    Raises ConfigError for a wrong value.
    """
    return convert(TrainSettings, run["settings"], Place(folder / "run.json"))
