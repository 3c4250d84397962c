"""A seeded karaoke platform with known tastes: users, works, impressions and feedback.

people.py            users, cities, families; follows and friends
catalogue.py         songs, and the works that creators upload
tastes.py            the truth: the probabilities of a user's feedback to a work
satiation.py         the effect of similar works that were shown just before
policy.py            sessions, and the works that the platform showed in them
platform.py          make_world: a Dataset with its truth
item_types.py        songs, creators, live rooms and song rooms, with their truth
item_type_tastes.py  the truth of these item types
opening_hours.py     when rooms are open
sampling.py          weighted sampling of rows
feedback.py          feedback to shown works, drawn from the true probabilities
"""

from karec.lab.simulate.world.platform import World, make_world
from karec.lab.simulate.world.tastes import Truth

__all__ = ["Truth", "World", "make_world"]
