"""``python -m karec.cli``."""

import sys

from karec.cli import main

sys.exit(main())
