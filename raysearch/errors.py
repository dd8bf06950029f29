"""The errors raysearch raises, as a tree.

::

    RaysearchError                 everything of ours; `transient` says whether trying again may help
    ├── ConfigError                a search file, a --set value or an option is wrong
    ├── TableError                 a table of targets or observations is wrong
    ├── RunFolderError             a run folder cannot be used: foreign, damaged, not writable
    ├── ArchiveError               an archive refused, or its answer is wrong or incomplete
    │   └── ArchiveUnavailable     it did not answer in time, or is overloaded (transient)
    ├── FootprintError             an s_region that cannot be parsed, or that bounds no region
    ├── ReadError                  one product's bytes cannot be had
    │   ├── ProductNotFound        404 (also a FileNotFoundError)
    │   ├── ProductForbidden       401, 403: private or restricted (also a PermissionError)
    │   ├── RequestRefused         400: the server does not do what it was asked, such as a cutout outside of the image
    │   ├── StoreUnavailable       time-outs, 429, 5xx, resets, after every retry (transient)
    │   └── ProductReplaced        it was replaced by another version while it was read (transient)
    ├── FormatError                the bytes came, and are not what they should be
    │   └── TruncatedFile          the file ends before the data its headers promise
    ├── TooLarge                   an observation needs more memory than the search may use
    ├── NothingToSearch            the product is sound, but holds nothing to search: it is skipped, not failed
    └── DetectorError              a detector broke its contract: a wrong column, length or dtype

Messages name the file or the key, say what is wrong, and how to mend it. Errors of other libraries are translated once, where
they enter: in `read.store` for pixels, in `archives` for queries. They are the `__cause__` of ours.
"""


class RaysearchError(Exception):
    """Base of every error raysearch raises on purpose."""

    transient = False
    """Whether the same request may succeed later."""


class ConfigError(RaysearchError, ValueError):
    """A search file, a `--set` value or an option is wrong."""


class TableError(RaysearchError, ValueError):
    """A table of targets or observations lacks what it must have."""


class RunFolderError(RaysearchError):
    """A run folder belongs to another search, is damaged, or cannot be written."""


class ArchiveError(RaysearchError):
    """An archive refused a query, or its answer is wrong or incomplete."""


class ArchiveUnavailable(ArchiveError):
    """An archive did not answer in time, or is overloaded."""

    transient = True


class FootprintError(RaysearchError, ValueError):
    """An s_region that cannot be parsed, or that bounds no region."""


class ReadError(RaysearchError, OSError):
    """The bytes of one product cannot be had."""


class ProductNotFound(ReadError, FileNotFoundError):
    """There is nothing at this address (404)."""


class ProductForbidden(ReadError, PermissionError):
    """The product is there, but not for this reader (401, 403)."""


class RequestRefused(ReadError):
    """The server does not do what it was asked (400)."""


class StoreUnavailable(ReadError):
    """The store did not deliver: time-outs, 429, 5xx or resets, after every retry."""

    transient = True


class ProductReplaced(ReadError):
    """Two answers about one product were of different versions of it."""

    transient = True


class FormatError(RaysearchError, ValueError):
    """A file's content is not what it should be."""


class TruncatedFile(FormatError):
    """A file ends before the data that its headers promise."""


class TooLarge(RaysearchError):
    """An observation needs more memory than the search may use."""


class NothingToSearch(RaysearchError):
    """A sound product that holds nothing to search; its observation is skipped, not failed."""


class DetectorError(RaysearchError):
    """A detector's records do not keep what its `columns` promise."""
