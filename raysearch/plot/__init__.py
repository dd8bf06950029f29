"""The figures of a candidate's card: each a function that takes what it shows and an Axes, and returns the Axes.

They use matplotlib's object interface alone, so that they work in workers and leave pyplot, if you use it, to you:

>>> from matplotlib.figure import Figure
>>> from raysearch.plot import line_map
>>> ax = Figure().add_axes((0, 0, 0.7, 1))
"""

from raysearch.plot.curves import Mark, curve
from raysearch.plot.images import planes
from raysearch.plot.maps import line_map
from raysearch.plot.pairs import triptych
from raysearch.plot.profiles import line_spectrum
from raysearch.plot.spectra import spectrum

__all__ = ["Mark", "curve", "line_map", "line_spectrum", "planes", "spectrum", "triptych"]
