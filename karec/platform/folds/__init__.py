"""Folds of the exposures: lists and counters, each defined once and read in two ways.

    located.py   exposures with the rows of a snapshot that they name
    moments.py   which exposures are strictly before a moment
    lists.py     LIST_FOLDS: what a user enjoyed, passed over and liked, and whom they follow
    counters.py  BY_USER, BY_WORK, BY_USER_SCENE: exposures and labels, counted

A fold starts from what a snapshot holds. ``after`` gives its state once all of some exposures have happened, as a
snapshot keeps it (``advance.py``); ``over_time`` answers for any row at any moment, as training rows need it. An
exposure is known at a moment when its time is strictly before it.
"""
