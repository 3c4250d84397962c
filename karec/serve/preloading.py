"""What a parent loads before it forks workers, so that they share its pages: modules, the bundle, models,
postings."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from karec.bundle import Bundle
from karec.config.assemble import refused_steps
from karec.config.live_settings import MEMORY, LiveSettings
from karec.config.scenes import Config


def preloaded(config: Config) -> Bundle:
    """The bundle, verified, with all that the steps of every scene read of it. No thread is started, no log
    opened: observers and what happened since are each worker's own. Raises why it cannot serve.
    """
    bundle = Bundle.shared(config.bundle, config.bundle_key)
    for scene in config.scenes:
        for refusal in refused_steps(config, scene, bundle):
            raise refusal
    if config.live is not None:
        _compile_folds(config.live, bundle)
    return bundle


def _compile_folds(settings: LiveSettings, bundle: Bundle) -> None:
    """Folds are compiled as the first state is read: here one of no event, in memory and a folder that
    goes."""
    from karec.config.online import bind_bundle, open_ingestion

    with TemporaryDirectory(prefix="karec-serve-") as folder:
        of_none = settings.replace(state=MEMORY, events="events", screen=None)
        ingestion = open_ingestion(of_none, Path(folder), bundle)
        bind_bundle(ingestion, bundle)
        ingestion.close()
