"""The service's own errors, named by who must act. The message is a sentence for that person and holds no health data.

AggregatorError
├── CallerError          who asked: wrong request, wrong sign-in, not allowed
│   ├── SignInFailed
│   ├── UnlockNeeded
│   ├── Changed          the resource has changed since the caller read it; read it again
│   └── Refused
├── OperatorError        who runs the service: a setting, a key file, a port
│   ├── KeysMissing
│   ├── BlobsUnreachable  the store of attachments does not answer
│   ├── DiskFull         there is no room to write
│   ├── DiskBroken       a disk cannot be read or written
│   ├── DatabaseGone     PostgreSQL does not answer
│   └── RolledBack       the database is older than the key service remembers
├── Tampered             nobody can mend it here: stored bytes are not what was written
└── Stale                nobody: the view is out of date, refresh it and try again
    └── Busy             another writer has held the record for too long; the same may succeed later
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

HTTP = "http."
"""What the place of a parameter or a header begins with: https://hl7.org/fhir/R4/operationoutcome.html"""


class AggregatorError(Exception):
    """The root of the tree."""


class CallerError(AggregatorError):
    """Whoever sent the request can mend it.

    place: of what is wrong: an element as a path from its resource, a parameter or a header as `http.<name>`; empty
    where it is the whole request.
    """

    place = ""

    @classmethod
    def at(cls, place: str, text: str) -> Self:
        """This error of one place, which the message names too."""
        error = cls(f"{place.removeprefix(HTTP)}: {text}" if place else text)
        error.place = place
        return error


@contextmanager
def within(place: str) -> Iterator[None]:
    """What goes wrong in here goes wrong at this place of the request, or below it."""
    try:
        yield
    except CallerError as error:
        if not error.place.startswith(place):
            error.place = place
        raise


class SignInFailed(CallerError):
    """Login, password, token or assertion is wrong: deliberately not said which."""


class UnlockNeeded(CallerError):
    """Signing takes an unlock within the last minutes."""


class Changed(CallerError):
    """The version that the caller names is not the current one."""

    place = f"{HTTP}If-Match"


class Refused(CallerError):
    """Not permitted. Says nothing about what exists behind it."""


class OperatorError(AggregatorError):
    """A setting, file or port is wrong; the message names it, what is wrong, and what would be right."""


class KeysMissing(OperatorError):
    """The key ring that belongs to this store is not there."""


class BlobsUnreachable(OperatorError):
    """The store of attachments does not answer now; nothing is lost, and the same may succeed later."""


class DiskFull(OperatorError):
    """There is no room to write. What was acknowledged is stored."""


class DiskBroken(OperatorError):
    """A disk cannot be read or written."""


class DatabaseGone(OperatorError):
    """PostgreSQL's server cannot be reached, or ended in the middle of a question."""


class RolledBack(OperatorError):
    """The database, or a vault's row of it, is older than the key service remembers, or has another history."""

    def __init__(
        self,
        told: str = "the database is older than the key service remembers; "
        "restore the newest backup with: aggregator restore",
    ) -> None:
        super().__init__(told)


class Tampered(AggregatorError):
    """Stored bytes fail their check. The message names the kind of row, nothing of its content."""


class Stale(AggregatorError):
    """The vault has moved on since this view was opened."""


class Busy(Stale):
    """Another writer has held what this one changes for longer than anybody waits. Nothing was changed."""
