"""Search thousands of archive files for what their metadata cannot tell.

The names in `__all__` are the public interface; each is imported when it is first asked for, so that `import raysearch` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import SearchConfig
    from .detect import open_detector
    from .errors import (
        ArchiveError,
        ArchiveUnavailable,
        ConfigError,
        DetectorError,
        FootprintError,
        FormatError,
        NothingToSearch,
        ProductForbidden,
        ProductNotFound,
        RaysearchError,
        ReadError,
        RunFolderError,
        StoreUnavailable,
        TableError,
        TruncatedFile,
    )
    from .model import (
        Archive,
        Candidate,
        Circle,
        Detector,
        Footprint,
        Limit,
        Line,
        Observation,
        Outcome,
        Pixels,
        Polygon,
        Query,
        Reader,
        Store,
        Target,
        Usage,
        Window,
    )
    from .result import Result
    from .search import Plan, Search
    from .sky import Matches, match, parse_s_region

__version__ = "0.1.0"

_HOMES = {
    "config": ["SearchConfig"],
    "detect": ["open_detector"],
    "errors": [
        "ArchiveError",
        "ArchiveUnavailable",
        "ConfigError",
        "DetectorError",
        "FootprintError",
        "FormatError",
        "NothingToSearch",
        "ProductForbidden",
        "ProductNotFound",
        "RaysearchError",
        "ReadError",
        "RunFolderError",
        "StoreUnavailable",
        "TableError",
        "TruncatedFile",
    ],
    "model": [
        "Archive",
        "Candidate",
        "Circle",
        "Detector",
        "Footprint",
        "Limit",
        "Line",
        "Observation",
        "Outcome",
        "Pixels",
        "Polygon",
        "Query",
        "Reader",
        "Store",
        "Target",
        "Usage",
        "Window",
    ],
    "result": ["Result"],
    "search": ["Plan", "Search"],
    "sky": ["Matches", "match", "parse_s_region"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveUnavailable",
    "Candidate",
    "Circle",
    "ConfigError",
    "Detector",
    "DetectorError",
    "Footprint",
    "FootprintError",
    "FormatError",
    "Limit",
    "Line",
    "Matches",
    "NothingToSearch",
    "Observation",
    "Outcome",
    "Pixels",
    "Plan",
    "Polygon",
    "ProductForbidden",
    "ProductNotFound",
    "Query",
    "RaysearchError",
    "ReadError",
    "Reader",
    "Result",
    "RunFolderError",
    "Search",
    "SearchConfig",
    "Store",
    "StoreUnavailable",
    "TableError",
    "Target",
    "TruncatedFile",
    "Usage",
    "Window",
    "__version__",
    "match",
    "open_detector",
    "parse_s_region",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'raysearch' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
