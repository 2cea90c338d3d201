"""`python -m edge.sim.explore`."""

import sys

from edge.sim.explore.search import main

sys.exit(main())
