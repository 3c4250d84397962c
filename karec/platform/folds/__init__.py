"""Folds of events: lists and counters, each defined once and read in several ways.

    located.py   events with the rows of a snapshot that they name
    lists.py     LIST_FOLDS: what a user enjoyed, passed over and liked, and whom they follow; SHOWN
    id_lists.py  what a fold of lists gives
    counters.py  BY_USER, BY_WORK, BY_USER_SCENE: exposures and labels, counted
    recent.py    RECENT_BY_WORK: counters that fade

A fold starts from what a snapshot holds. ``after`` gives its state once all of some exposures have happened,
as a snapshot keeps it (``advance.py``); ``over_time`` answers for any row at any moment, as training rows
need it. An exposure is known at a moment when its time is strictly before it.
"""
