"""The research lab: a simulated platform, studies of cascades, the demo. Only the command line loads it."""
