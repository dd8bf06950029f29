"""Detectors: pixels in, candidate records out. Each is opened by its name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from raysearch.detect.flags import BAD_FLAGS
from raysearch.errors import ConfigError
from raysearch.model import LIGHT_KM_S, Detector, Kind

__all__ = ["DETECTORS", "default_options", "open_detector"]


def _lines(
    false_alarm: float = 0.01, velocity: float = 500.0, maps: bool = True, resolving_power: float = 0.0, psf_fwhm: float = 0.0
) -> Detector:
    """Return the detector `lines`."""
    from raysearch.detect.lines import Lines

    return Lines(false_alarm, velocity, maps, resolving_power, psf_fwhm)


def _published() -> Detector:
    """Return the detector `published`, which has no options."""
    from raysearch.detect.published import Published

    return Published()


def _published_as_printed() -> Detector:
    """Return the detector `published-as-printed`, which has no options."""
    from raysearch.detect.published import Published

    return Published(as_printed=True)


def _cutouts() -> Detector:
    """Return the detector `cutouts`, which has no options."""
    from raysearch.detect.cutouts import Cutouts

    return Cutouts()


def _photometry(
    apertures_px: Sequence[float] = (3.0, 4.0, 5.0),
    annulus_px: Sequence[float] = (7.0, 16.0),
    psf: bool = True,
    correct: bool = True,
    bad_flags: Sequence[str] = BAD_FLAGS,
) -> Detector:
    """Return the detector `photometry`."""
    from raysearch.detect.photometry import Photometry

    return Photometry(apertures_px, annulus_px, psf, correct, bad_flags)


def _difference(
    colours: str = "both", false_alarm: float = 0.1, bad_flags: Sequence[str] = BAD_FLAGS, bands: bool = True
) -> Detector:
    """Return the detector `difference`."""
    from raysearch.detect.difference import Difference

    return Difference(colours, false_alarm, bad_flags, bands)


def _published_difference() -> Detector:
    """Return the detector `published` of pairs, which has no options."""
    from raysearch.detect.published_difference import PublishedDifference

    return PublishedDifference()


DETECTORS: dict[Kind, dict[str, Callable[..., Detector]]] = {
    "lines": {"lines": _lines, "published": _published, "published-as-printed": _published_as_printed},
    "images": {"cutouts": _cutouts, "photometry": _photometry},
    "pairs": {"difference": _difference, "published": _published_difference},
}
"""The detectors shipped for each kind of search, by name."""


def open_detector(name: str, options: Mapping[str, Any] | None = None, kind: Kind = "lines") -> Detector:
    """Return the detector with this name.

    Parameters
    ----------
    name
        A shipped detector's name, or the user's own class: `package.module.ClassName` or `path/to/file.py:ClassName`.
    options
        Its keyword arguments.
    kind
        What it is to search.

    Raises
    ------
    ConfigError
        If there is none, it is no detector, or it has no such option.
    """
    return _make(name, _maker(name, kind), options or {})


def _maker(name: str, kind: Kind) -> Callable[..., Any]:
    """Return what makes the detector with this name."""
    if name in DETECTORS[kind]:
        return DETECTORS[kind][name]
    path, colon, class_name = name.rpartition(":")
    if colon:
        return _member(name, _load(name, Path(path)), class_name)
    module_name, dot, class_name = name.rpartition(".")
    if dot and all(module_name.split(".")):
        return _member(name, _import(name, module_name), class_name)
    others = [other for other, shipped in DETECTORS.items() if name in shipped]
    hint = f": that one is for {' and '.join(others)}; known are {', '.join(sorted(DETECTORS[kind]))}" if others else ""
    hint = hint or _nearest(name, list(DETECTORS[kind]))
    raise ConfigError(
        f"no detector {name!r} of {kind}{hint}; your own would be package.module.ClassName or path/to/file.py:ClassName"
    )


@contextmanager
def _users_code(name: str) -> Iterator[None]:
    """Tell what the user's own code raises inside as a sentence, with the place."""
    try:
        yield
    except ConfigError:
        raise
    except SyntaxError as exc:
        raise ConfigError(f"detector {name!r}: {exc.msg} ({exc.filename}, line {exc.lineno})") from exc
    except (Exception, SystemExit) as exc:
        place = traceback.extract_tb(exc.__traceback__)[-1]
        raise ConfigError(f"detector {name!r}: {type(exc).__name__}: {exc} ({place.filename}, line {place.lineno})") from exc


def _import(name: str, module_name: str) -> ModuleType:
    """Return an importable module."""
    with _users_code(name):
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as exc:
            if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
                raise  # one that the user's module imports
            raise ConfigError(f"detector {name!r}: there is no module {exc.name!r} on the Python path") from exc


def _load(name: str, path: Path) -> ModuleType:
    """Return the module that a file holds."""
    spec = importlib.util.spec_from_file_location(f"_detector_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"detector {name!r}: {str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Known to Python while it runs, as dataclasses need; not afterwards, so that Ray sends its classes by value to machines
    # that have no such file.
    sys.modules[module.__name__] = module
    try:
        with _users_code(name):
            spec.loader.exec_module(module)
    finally:
        del sys.modules[module.__name__]
    return module


def _member(name: str, module: ModuleType, class_name: str) -> Callable[..., Any]:
    """Return the module's class."""
    made = getattr(module, class_name, None)
    if not callable(made):
        raise ConfigError(f"detector {name!r}: the module has no class {class_name!r}{_nearest(class_name, list(vars(module)))}")
    return made  # type: ignore[no-any-return]


def _make(name: str, made: Callable[..., Any], options: Mapping[str, Any]) -> Detector:
    """Return the detector, made with these options."""
    try:
        inspect.signature(made).bind(**options)
    except TypeError as exc:
        known = ", ".join(inspect.signature(made).parameters) or "none"
        raise ConfigError(f"detector {name!r}: {exc}; the options it takes: {known}") from exc
    with _users_code(name):
        detector = made(**options)
    lacking = [attribute for attribute in ("window", "columns", "detect") if not hasattr(detector, attribute)]
    if lacking or not isinstance(detector, Detector):
        raise ConfigError(f"detector {name!r} lacks {', '.join(lacking)}: a detector has window, columns and detect(pixels)")
    window, columns = detector.window, detector.columns
    if window is not None and (not isinstance(window, int) or isinstance(window, bool) or window < 0):
        raise ConfigError(
            f"detector {name!r}: window = {window!r}; it is a number of planes, 0 or more, or None for the whole cube"
        )
    if not isinstance(columns, Mapping) or not all(isinstance(text, str) for item in columns.items() for text in item):
        raise ConfigError(f'detector {name!r}: columns = {columns!r}; it maps names to types, such as {{"snr": "f8"}}')
    _check_optional(name, detector)
    return detector


def _check_optional(name: str, detector: Detector) -> None:
    """Raise ConfigError where what a detector need not have is there and wrong."""
    velocity = getattr(detector, "velocity", 0.0)
    if not isinstance(velocity, Real) or isinstance(velocity, bool) or not 0 <= float(velocity) < LIGHT_KM_S:
        raise ConfigError(
            f"detector {name!r}: velocity = {velocity!r}; it is a number of km/s, 0 or more, to be searched on each side of a line"
        )
    for attribute, such_as in (("extensions", '["ERR", "DQ", "WMAP"]'), ("needs", '["FLAGS", "VARIANCE"]')):
        given = getattr(detector, attribute, ())
        if not isinstance(given, list | tuple) or not all(isinstance(text, str) and text for text in given):
            raise ConfigError(f"detector {name!r}: {attribute} = {given!r}; it is a list of texts, such as {such_as}")


def default_options(name: str, kind: Kind = "lines") -> dict[str, Any]:
    """Return the options of a detector, by its name, that have a default which a search file can hold, with that default.

    Raises
    ------
    ConfigError
        There is no such detector.
    """
    parameters = inspect.signature(_maker(name, kind)).parameters.values()
    return {p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in parameters if _in_toml(p.default)}


def _in_toml(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_in_toml, value))
    return isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _nearest(name: str, known: list[str]) -> str:
    """Return a hint at the known name nearest to this one."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f", did you mean {close[0]!r}?"
    return f": known are {', '.join(sorted(k for k in known if not k.startswith('_')))}"
