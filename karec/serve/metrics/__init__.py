"""What a service shows of itself: counts, latencies, versions, lags, memory, and what its feeds do to
creators."""

from karec.serve.metrics.metrics import Metrics

__all__ = ["Metrics"]
