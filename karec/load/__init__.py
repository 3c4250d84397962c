"""An open-loop load generator for a service of karec: moments are fixed before the first request, and latency is
counted from them, so that a service that is slow gets no fewer requests and hides no waiting.
"""

from karec.errors import MissingExtra

try:
    import httptools as httptools
    import msgspec as msgspec
    import uvloop as uvloop
except ImportError as error:
    raise MissingExtra(error.name or "httptools", "load", "karec load") from error
