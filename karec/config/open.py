"""Opens a karec.toml: one cascade, or cascades that follow the file, its bundle and its online store."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, overload

from karec.bundle import Bundle, identity_of
from karec.bundle.hot_swap import HotSwap
from karec.bundle.remote import POLL_S
from karec.bundle.verify import ENCODER
from karec.bundle.version import ArmBundle, Version
from karec.config.arm_bundles import ArmBundles, arm_bundle_paths, open_arm_bundles
from karec.config.arms import build_scenes, load_experiments
from karec.config.assemble import open_bundle
from karec.config.mix import calibration_texts
from karec.config.scenes import Config
from karec.errors import KarecError
from karec.experiments.settings import read_experiments
from karec.experiments.started import Versions, add_versions
from karec.online.poll import Poller
from karec.pipeline.cascade import Cascade
from karec.refresh.follow import LibraryFollower
from karec.refresh.publish_run import REFRESH_HOURS
from karec.toml import Place

if TYPE_CHECKING:  # at run time this would load the compiler of the aggregates
    from karec.config.online_settings import OnlineSettings

WATCH_PERIOD_S = 1.0
# A running service keeps them.
FIXED_ONLINE_KEYS = ("url", "screen", "deadline_ms", "retention_days", "open_minutes")

_log = logging.getLogger("karec.config")


@overload
def open(path: str | Path, scene: str = "home", reload: Literal[False] = False) -> Cascade: ...
@overload
def open(path: str | Path, scene: str | None = "home", *, reload: Literal[True]) -> HotSwap: ...
def open(path: str | Path, scene: str | None = "home", reload: bool = False) -> Cascade | HotSwap:
    """Returns the cascade of ``scene``.

    ``reload=True``: it follows the file, the published bundle, refreshed vectors and the online store, and
    ``record`` takes events; ``scene=None`` serves every scene of the file. Raises ConfigError with the place
    of a mistake in the file, and BundleError if the bundle is damaged.
    """
    if reload:
        return open_hot_swap(path, scene, watch_seconds=WATCH_PERIOD_S)
    if scene is None:
        raise ValueError("scene is None, expected the name of a scene. Only reload=True serves every scene")
    config = Config.read(Path(path))
    return build_scenes(config, [scene], load_experiments(config), open_bundle(Path(path)))[scene]


def open_hot_swap(
    path: str | Path, scene: str | None = "home", *, watch_seconds: float | None = None
) -> HotSwap:
    """Returns the cascades of ``scene``, or of every scene if it is None. ``HotSwap.reload`` replaces them.

    ``watch_seconds``: how often a thread checks whether file or bundle changed, and reloads; None: no thread.
    """
    source = _VersionSource(Path(path).absolute(), scene)
    return HotSwap(
        source.open_version, source.read_identity, source.add_refreshed, watch_seconds=watch_seconds
    )


def read_identity(path: Path) -> Hashable:
    """Returns a value that is equal as long as the file, its calibrations, its experiments and its bundle are
    the same.

    It reads the files and one link and raises nothing.
    """
    text = _text(path)
    with suppress(KarecError, OSError):
        config = Config.read(path)
        return text, identity_of(config.bundle), _other_texts(config)
    return text, None, ()


def warn_if_exposure_is_not_shared(config: Config, workers: int) -> None:
    """Logs a warning if several workers count the exposure of a scene, and no online store shares it."""
    if workers == 1 or config.online is not None:
        return
    for name in config.scenes:
        if config.scene(name).exposure is not None:
            _log.warning(
                "scenes.%s.exposure: %d workers count impressions separately, which weakens exposure "
                "control; add a table [online], whose store shares the counters",
                name,
                workers,
            )


def input_times_mistake(config: Config, refresh_hours: float | None) -> str | None:
    """Returns why models with inputs as of every ``refresh_hours`` do not fit the service; None if they do.

    ``refresh_hours``: 0 is the moment of a request. None: unknown, of a bundle without this fact.
    """
    if refresh_hours is None or (refresh_hours == 0) == (config.online is not None):
        return None
    if refresh_hours == 0:
        return (
            "the models learned from the state of each moment (features.refresh_hours = 0), and without a "
            "table [online] a page has the state of the bundle. Add the table, or train again with "
            "features.refresh_hours = 24"
        )
    return (
        f"the models learned from the state of every {refresh_hours:g} hours (features.refresh_hours), and "
        "with the table [online] a page has the state of the moment. Train again: karec train then takes "
        "features.refresh_hours = 0"
    )


def unranked_scenes_note(config: Config, bundle: Bundle) -> str | None:
    """Returns which scenes lack the step ``ranker`` although the ranker has learned their item type.

    None if there is none. A karec.toml that exists is never changed, so it may be older than the ranker.
    """
    if not (bundle.path / ENCODER).exists():
        return None
    learned = bundle.encoder.learned_labels
    names = []
    for name in config.scenes:
        scene = config.scene(name)
        uses = {step.get("use") for stage in scene.stages for step in stage.get("steps", ())}
        if scene.item_type in learned and "ranker" not in uses:
            names.append(name)
    if not names:
        return None
    return (
        f"the ranker has learned the item types of the scenes {names}, which lack the step ranker. Add "
        '{ use = "ranker" } and { use = "fusion", weights = { LABEL = 1.0 }, share = 0.5 } after blend'
    )


class _VersionSource:
    """Opens the versions of one karec.toml, of one scene or (None) of all.

    If its bundle is a URL, a thread pulls new versions until this object is collected. Nothing waits for it:
    a process may end during a download, which the next process repeats.
    """

    def __init__(self, path: Path, scene: str | None) -> None:
        self._path = path
        self._scene = scene
        self._libraries = defaultdict[str, LibraryFollower](LibraryFollower)  # "": of karec.toml
        self._online: OnlineSettings | None = None  # of the ingestion that is open
        self._known: Versions = {}  # versions of experiments
        self._puller = Poller(self, _VersionSource.pull, POLL_S, "karec-pull")

    def read_identity(self) -> Hashable:
        return read_identity(self._path)

    def open_version(self, previous: Version | None) -> Version:
        """A child process verifies the bundle if ``previous`` is in service meanwhile.

        Raises what ``karec.open`` raises, and ConfigError if the file names another online store than before.
        """
        text = _text(self._path)  # before it is parsed: if it changes meanwhile, the next identity differs
        config = Config.read(self._path)
        other_texts = _other_texts(config)
        ingestion = None if previous is None else previous.ingestion
        if ingestion is not None and self._online is not None:
            _check_online_unchanged(self._path, self._online, config.online)
        if previous is None or not config.bundle.exists():
            config.follow_bundle()
        bundle = Bundle.shared(config.bundle, config.bundle_key, in_child=previous is not None)
        if config.has_bundle_url:
            self._puller.start()
        mistake = input_times_mistake(config, bundle.facts.get(REFRESH_HOURS))
        if mistake is not None:
            _log.warning("%s: %s", self._path, mistake)
        experiments = load_experiments(config, self._known)
        identity = text, identity_of(bundle.path), other_texts
        scenes = config.scenes if self._scene is None else (self._scene,)
        online, follower, store, bind = None, None, None, None
        arm_bundles: ArmBundles = {}
        with ExitStack() as on_refusal:
            if config.online is not None:
                from karec.config.online import bind_bundle, open_ingestion

                if ingestion is None:
                    ingestion = open_ingestion(config.online, self._path.parent, bundle)
                    on_refusal.callback(ingestion.close)
                    self._online = config.online
                online = bind_bundle(ingestion, bundle, config)
                follower, store = online.follower, ingestion.store
                bind = partial(bind_bundle, ingestion, config=config)
            if experiments is not None:
                arm_bundles = open_arm_bundles(config, experiments, bind, in_child=previous is not None)
            cascades = build_scenes(
                config, scenes, experiments, bundle, online=follower, store=store, arm_bundles=arm_bundles
            )
            on_refusal.pop_all()
        if experiments is not None and config.experiments is not None:
            self._known = add_versions(experiments, self._known, config.experiments)
        arms = {path: one for path, one in arm_bundles.items() if isinstance(one, ArmBundle)}
        if online is not None:
            followers = tuple(one.online.follower for one in arms.values() if one.online is not None)
            online = replace(online, arms=followers)
        return Version(identity, bundle, MappingProxyType(cascades), ingestion, online, arms)

    def pull(self) -> None:
        """Pulls a new version of the bundle's URL. The next reload opens it."""
        with suppress(KarecError, OSError):  # a reload reports mistakes of the file
            Config.read(self._path).follow_bundle()

    def add_refreshed(self, version: Version) -> None:
        """Adds refreshed vectors; edited items keep the vectors of their edit."""
        bundles = {"": ArmBundle(version.bundle, version.online), **version.arm_bundles}
        for path, one in bundles.items():
            on_added = (lambda: None) if one.online is None else one.online.follower.reapply_edits
            self._libraries[path].follow(one.bundle, on_added)


def _other_texts(config: Config) -> tuple[Hashable, ...]:
    """Returns the content of the calibrations and of experiments.toml, and the identities of its bundles."""
    if config.experiments is None:
        return calibration_texts(config)
    identities: list[Hashable] = []
    with suppress(KarecError):  # a reload reports mistakes of the file
        paths = arm_bundle_paths(read_experiments(config.experiments))
        identities += [(path, identity_of(config.path.parent / path)) for path in paths]
    return (*calibration_texts(config), _text(config.experiments), *identities)


def _check_online_unchanged(path: Path, old: OnlineSettings, new: OnlineSettings | None) -> None:
    """Raises ConfigError if a key changed that a running service keeps."""
    place = Place(path)["online"]
    if new is None:
        raise place.refusal("a running service keeps its online store. Keep the table or restart the service")
    for key in FIXED_ONLINE_KEYS:
        old_value, new_value = getattr(old, key), getattr(new, key)
        if old_value != new_value:
            raise place[key].refusal(
                f"changed from {old_value!r} to {new_value!r}. Restart the service to apply it"
            )


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ``Config.read`` says why
        return b""
