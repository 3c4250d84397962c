"""The demo: trains, serves and measures a cascade on a simulated platform."""
