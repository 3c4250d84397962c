"""A seeded karaoke platform: users, works, exposures and feedback, drawn from tastes that are known.

people.py      users, cities, families; who follows whom, who is whose friend
catalogue.py   songs, and the works that creators upload
tastes.py      the truth: what a user thinks of a work, as probabilities
satiation.py   what was shown just before, and how much less is wanted of the like
policy.py      sessions, and what the platform showed in them
platform.py    make_world: all of it, as a Dataset with its truth
sampling.py    rows drawn by weight
answers.py     outcomes drawn from true chances: what users do with a served feed
"""

from karec.lab.simulate.world.platform import World, make_world
from karec.lab.simulate.world.tastes import Truth

__all__ = ["Truth", "World", "make_world"]
