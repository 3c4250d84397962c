"""The settings of a training run: one TOML table, each key a field here."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from karec.config.starting import OBJECTIVES
from karec.errors import ConfigError
from karec.learn.settings.recipes import MOST_ROUNDS, RECIPES
from karec.rank.fusion import Fusion

RANKERS = ("mmoe", "lr", "lightgbm")
LARGEST = {"seed": 2**31 - 1}  # of whole numbers, where not int64: LightGBM's seed is an int32
POSITIVE = (
    *("epochs", "tower_epochs", "patience", "batch_size", "learning_rate", "dim", "hidden", "n_experts", "members"),
    *("tower_hidden", "vector", "temperature", "history_length", "min_count", "user_min_count", "resamples", "bins"),
    *("list_temperature", "lists_per_step", "shadow_requests", "contrast_temperature", "checkpoint_steps"),
)
NOT_NEGATIVE = (
    *("seed", "model_version", "weight_decay", "refresh_hours", "threads", "born_again"),
    *("list_weight", "pool_weight", "pairwise_weight", "unexposed_weight"),
)
SHARES = ("soft_weight", "dropout", "id_dropout", "tower_id_dropout", "profile_dropout", "kd_warm_up", "shadow_share")
ONE_OF: Mapping[str, tuple[str, ...]] = {
    "ranker": RANKERS,
    "recipe": tuple(RECIPES),
    "towers": ("full", "static"),
    "ranker_features": ("all", "towers"),
    "pairwise": ("plain", "chunks"),
    "device": ("auto", "cpu", "cuda"),
}


@dataclass(frozen=True)
class TrainSettings:
    """Keys of a settings file, at its top level or in its table ``[train]``.

    seed, model_version      of everything random; written into every model
    ranker                   which model ranks and teaches: "mmoe", "lr" or "lightgbm"
    baselines                what is trained only to be compared with: of "lr", "lightgbm"; popularity costs nothing
    epochs, tower_epochs     passes over the training days at most; the best pass on validation is kept
    patience                 stop after so many passes that were no better
    batch_size, learning_rate, weight_decay (on embeddings)
    dim, hidden              of the ranker: of an item code's vector (users' are half), of an expert
    n_experts, members       experts of a member, and members: small MMoEs over the same vectors, whose mean ranks
    bins                     pieces of the piecewise linear effect of a number
    dropout, id_dropout      of the ranker's hidden units; share of work, creator and song ids hidden while training
    tower_hidden, vector     width of the towers; D, the dimensions of their vectors
    tower_id_dropout         share of work, creator, song and user ids hidden while the towers train
    profile_dropout          share of rows whose user's profile is hidden while the towers train, as a new user's is
    towers                   "full", or "static": towers that see no counters and rates, for vectors refreshed rarely
    matching                 whether the towers also compare a work with the history code by code (nets/towers.py)
    recipe                   which losses teach the towers (settings/recipes.py); it sets the keys up to born_again
    ranker_features          "all", or "towers": a ranker without cross features, that sees what the towers see
    soft_weight              λ, the soft labels' share; the hard labels have the rest
    list_weight              β, of the list loss
    pool_weight              of soft labels for works in logged lists, shown or not
    pairwise, pairwise_weight  "plain" or "chunks", and γ, of the pairwise loss
    unexposed_weight         η, of the contrast with the batch's works and with recalled ones that were not shown
    born_again               rounds more, in which the last towers join the logged ranker: at most three
    temperature              T of the soft labels
    list_temperature         τ of the list loss
    chunks                   ranks in a logged list of list_works at which a chunk ends
    contrast_temperature     of the contrast
    kd_warm_up               share of the towers' steps before anything of the ranker counts
    task_weights             of a task's loss, and of "fused"; 1 where nothing is said
    shadow_share             of the training days' requests whose whole pool the first rank log holds,
    shadow_requests          and of how many at most
    shadow_works, list_works works in such a pool, and how many of a logged pool make a list
    lists_per_step           logged lists in every training step
    auxiliary                what the ranker learns besides the tasks: any label, and "play_time"; one that the data
                             cannot teach is passed over
    checkpoint_steps         a training that is killed goes on from at most so many steps before
    tensorboard              whether `karec train` also writes its curves as TensorBoard's event files, as it goes
    device                   "auto" (CUDA when there is one), "cpu" or "cuda"
    fusion                   weights of the tasks in the fused score that the towers' fused head learns
    history_length           how many of a user's last works the models see
    min_count                how often training must have seen a value for a vector of its own
    user_min_count           how often a user, for a vector of their own in the user tower
    refresh_hours            training rows know the platform as of the last multiple of this, as serving from a
                             published snapshot does; 0: as of their own moment, for a service with live features
    threads                  0: as many as torch finds
    resamples                of users, for the intervals
    """

    seed: int = 0
    model_version: int = 1
    ranker: Literal["mmoe", "lr", "lightgbm"] = "mmoe"
    baselines: tuple[str, ...] = ("lr",)
    epochs: int = 3
    tower_epochs: int = 5
    patience: int = 2
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    dim: int = 16
    hidden: int = 32
    n_experts: int = 4
    members: int = 4
    bins: int = 8
    dropout: float = 0.1
    id_dropout: float = 0.3
    tower_hidden: int = 128
    vector: int = 64
    tower_id_dropout: float = 0.1
    profile_dropout: float = 0.05
    towers: Literal["full", "static"] = "full"
    matching: bool = False
    recipe: str = "list"
    ranker_features: Literal["all", "towers"] = "all"
    soft_weight: float = 0.8
    list_weight: float = 1.0
    pool_weight: float = 0.0
    pairwise: Literal["plain", "chunks"] = "chunks"
    pairwise_weight: float = 0.0
    unexposed_weight: float = 0.0
    born_again: int = 0
    temperature: float = 2.0
    list_temperature: float = 0.5
    chunks: tuple[int, ...] = (5, 10, 20)
    contrast_temperature: float = 0.1
    kd_warm_up: float = 0.05
    task_weights: Mapping[str, float] = field(default_factory=dict)
    shadow_share: float = 0.05
    shadow_requests: int = 10_000
    shadow_works: int = 200
    list_works: int = 40
    lists_per_step: int = 16
    auxiliary: tuple[str, ...] = ("follow", "play_time")
    checkpoint_steps: int = 200
    tensorboard: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    fusion: Mapping[str, float] = field(default_factory=lambda: dict(OBJECTIVES))
    history_length: int = 30
    min_count: int = 20
    user_min_count: int = 3
    refresh_hours: float = 24.0
    threads: int = 0
    resamples: int = 200

    def __post_init__(self) -> None:
        for name, known in ONE_OF.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected one of {known}")
        strangers = sorted(set(self.baselines) - {"lr", "lightgbm"})
        if strangers:
            raise ConfigError(f"baselines hold {strangers}, expected 'lr' or 'lightgbm'")
        self._check_numbers()
        if self.hidden < 2:
            raise ConfigError(f"hidden = {self.hidden}, expected at least 2")
        if self.dim % 2:
            raise ConfigError(f"dim = {self.dim}, expected an even number")
        if self.born_again > MOST_ROUNDS:
            raise ConfigError(f"born_again = {self.born_again}, expected at most {MOST_ROUNDS}")
        if not 2 <= self.list_works <= self.shadow_works:
            raise ConfigError(f"list_works = {self.list_works}, expected 2 to shadow_works = {self.shadow_works}")
        if list(self.chunks) != sorted(set(self.chunks)) or not all(0 < end < self.list_works for end in self.chunks):
            raise ConfigError(f"chunks = {list(self.chunks)}, expected ascending ranks below {self.list_works}")
        if any(not 0 <= weight < math.inf for weight in self.task_weights.values()):
            raise ConfigError(f"task_weights = {dict(self.task_weights)}, expected finite weights of at least 0")
        try:
            Fusion(self.fusion)
        except ValueError as error:
            raise ConfigError(f"fusion = {dict(self.fusion)}: {error}") from error

    def _check_numbers(self) -> None:
        for name in (setting.name for setting in dataclasses.fields(self)):
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{name} = {value!r}, expected a finite number")
            if isinstance(value, int) and value > LARGEST.get(name, 2**63 - 1):
                raise ConfigError(f"{name} = {value!r}, expected at most {LARGEST.get(name, 2**63 - 1)}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected more than 0")
        for name in NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected at least 0")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)!r}, expected 0 to 1")

    def with_recipe(self, name: str) -> Self:
        """These settings with the losses of another recipe; raises ConfigError for one that does not exist."""
        if name not in RECIPES:
            raise ConfigError(f"recipe = {name!r}, expected one of {tuple(RECIPES)}")
        return dataclasses.replace(self, recipe=name, **RECIPES[name])

    @property
    def needs_lists(self) -> bool:
        """Whether a loss reads logged lists."""
        return max(self.list_weight, self.pool_weight, self.pairwise_weight, self.unexposed_weight) > 0

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file; raises ConfigError naming the file and a wrong key or value."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
        table = table["train"] if isinstance(table.get("train"), dict) else table
        built_in = {setting.name: getattr(cls(), setting.name) for setting in dataclasses.fields(cls)}
        for key in table:
            if key not in built_in:
                close = difflib.get_close_matches(key, built_in, n=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise ConfigError(f"{path}: unknown key {key!r}{hint}; known are {sorted(built_in)}")
        values = {key: _value(path, key, value, built_in[key]) for key, value in table.items()}
        try:
            chosen = cls().with_recipe(values["recipe"]) if isinstance(values.get("recipe"), str) else cls()
            return dataclasses.replace(chosen, **values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def _value(path: Path, key: str, value: Any, like: Any) -> Any:
    """``value`` as a setting that is built in as ``like``, a list's values like its first."""
    kind = type(like)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise ConfigError(f"{path}: {key} is too large for a number with a point") from error
    if kind is tuple and isinstance(value, list):
        return tuple(_value(path, f"{key}[{at}]", one, like[0]) for at, one in enumerate(value))
    if kind is dict and isinstance(value, dict):
        return {task: _value(path, f"{key}.{task}", weight, 0.0) for task, weight in value.items()}
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = {"tuple": "a list", "dict": "a table"}
        raise ConfigError(f"{path}: {key} = {value!r}, expected {names.get(kind.__name__, kind.__name__)}")
    return value
