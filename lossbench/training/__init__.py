"""From a RunSpec to a stream of events; names no component."""

import os

# MKL rounds a product by where it lies in memory, unless it is told to give the same bits anywhere:
# then a trial is the same alone and at any place in a group. It costs nothing that can be measured.
# MKL reads this at its first product; where another program has set it, that stands.
os.environ.setdefault("MKL_CBWR", "AUTO")
