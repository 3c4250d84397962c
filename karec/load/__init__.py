"""An open-loop load generator for a service of karec: moments are fixed before the first request, and latency
is counted from them, so that a service that is slow gets no fewer requests and hides no waiting.
"""
