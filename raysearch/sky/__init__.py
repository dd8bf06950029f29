"""The sky: footprints out of text, and which targets they hold."""

from raysearch.sky.footprint import contains, parse_s_region, readable_footprint
from raysearch.sky.index import Matches
from raysearch.sky.match import match

__all__ = ["Matches", "contains", "match", "parse_s_region", "readable_footprint"]
