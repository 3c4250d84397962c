"""What a live cascade serves with: the cascades of one reading of ``karec.toml`` on one bundle."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from karec._giving_way import give_way
from karec.bundle import Bundle, identity_of
from karec.config.assemble import Cascade, build_cascade
from karec.config.scenes import Config
from karec.errors import BundleError, KarecError, one_line
from karec.pipeline.types import Request
from karec.toml import Place

if TYPE_CHECKING:
    from karec.config.live_settings import LiveSettings
    from karec.config.nearline import Nearline, Since

SERVED = ("state", "events", "screen", "deadline_ms")  # what a service reads of the table ``live``


@dataclass(frozen=True, eq=False)
class Version:
    """``named``: what ``named_by`` said of it; ``bundle``: what its cascades serve; ``since``: what happened
    since that was made. Whoever runs a request holds this object until the answer is there: it is gone when
    nobody serves with it any more.
    """

    named: Hashable
    bundle: Bundle
    cascades: Mapping[str, Cascade]
    since: Since | None = None


def named_by(path: Path) -> Hashable:
    """Equal to what it was before as long as the text at ``path`` and the bundle that it leads to are the
    same.

    It reads ``karec.toml`` and one link, and raises nothing.
    """
    text = _text(path)
    with suppress(KarecError, OSError):
        return text, identity_of(Config.read(path).bundle)
    return text, None


def open_version(
    path: Path, scene: str | None, nearline: Nearline | None = None, *, beside: bool = False
) -> tuple[Version, Nearline | None]:
    """The cascade of ``scene``, or of all scenes where None, on the bundle that ``current`` names now, and
    what keeps up with the log that the file names: ``nearline`` where there is one already. ``beside``
    another version, which serves meanwhile: the bundle is verified by a process of its own.

    Raises what ``Cascade.from_config`` raises. ConfigError: the file names another log or store than before.
    """
    # before it is parsed: where it changes meanwhile, it is not what ``named_by`` says next
    text = _text(path)
    config = Config.read(path)
    if nearline is not None:
        _check_unchanged(path, nearline.settings, config.live)
    bundle = Bundle.shared(config.bundle, config.bundle_key, apart=beside)
    scenes = config.scenes if scene is None else (scene,)
    if config.live is None:
        cascades = {name: build_cascade(config, name, bundle) for name in scenes}
        return Version((text, identity_of(bundle.path)), bundle, MappingProxyType(cascades)), None
    with ExitStack() as refused:  # what was opened for a version that is not served is closed
        if nearline is None:
            from karec.config.nearline import Nearline

            nearline = Nearline(config.live, path.parent, bundle.snapshot)
            refused.callback(nearline.close)
        since = nearline.of(bundle)
        cascades = {name: build_cascade(config, name, bundle, since.live) for name in scenes}
        refused.pop_all()
    return Version((text, identity_of(bundle.path)), bundle, MappingProxyType(cascades), since), nearline


def _check_unchanged(path: Path, before: LiveSettings, now: LiveSettings | None) -> None:
    """ConfigError: what a service reads of the table has changed. What ``karec live`` alone reads may
    change."""
    place = Place(path)["live"]
    if now is None:
        raise place.refusal(
            "a service that runs keeps its log and store: leave the table, or begin the service anew"
        )
    for key in SERVED:
        was, said = getattr(before, key), getattr(now, key)
        if was != said:
            raise place[key].refusal(
                f"it was {was!r} and is {said!r}: a service takes it when it is begun anew"
            )


def replay_answered(version: Version, answered: Mapping[str, Iterable[Request]], before: Version) -> None:
    """Run requests, by their scene, that were answered with works before; no observer sees them.

    Raises BundleError for one that fails, or gets no work where ``before``, which is in service, finds some
    now: who was shown all works since then gets none of either. Scenes that ``version`` lacks are left out.
    """
    for scene in answered.keys() & version.cascades.keys():
        cascade = replace(version.cascades[scene], side_effects=())
        serving = replace(before.cascades.get(scene, cascade), side_effects=())
        where = (
            f"{cascade.versions['bundle']}: a request of the scene {scene!r} that was answered with works "
            f"before"
        )
        for request in answered[scene]:
            give_way()
            try:
                n_works = len(cascade.run(request).candidates)
            except Exception as error:  # a step of the host's own may raise anything
                raise BundleError(one_line(f"{where} fails: {type(error).__name__}: {error}")) from error
            if not n_works and len(serving.run(request).candidates):
                raise BundleError(f"{where} gets none")


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ``Config.read`` says why
        return b""
