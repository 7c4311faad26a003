"""The service's own errors, named by who must act. The message is a sentence for that person and holds no health data.

AggregatorError
├── CallerError          who asked: wrong request, wrong sign-in, not allowed
│   ├── SignInFailed
│   ├── UnlockNeeded
│   ├── Changed          the resource has changed since the caller read it; read it again
│   ├── Invalid          a resource breaks the rules of FHIR; `problems` says where
│   └── Refused
├── OperatorError        who runs the service: a setting, a key file, a port
│   ├── KeysMissing
│   ├── BlobsUnreachable  the store of attachments does not answer
│   └── RolledBack       the database is older than the key service remembers
├── Tampered             nobody can mend it here: stored bytes are not what was written
└── Stale                nobody: the view is out of date, refresh it and try again
    └── Busy             another writer has held the record for too long; the same may succeed later
"""

from __future__ import annotations


class AggregatorError(Exception):
    """The root of the tree."""


class CallerError(AggregatorError):
    """Whoever sent the request can mend it."""


class SignInFailed(CallerError):
    """Login, password, token or assertion is wrong: deliberately not said which."""


class UnlockNeeded(CallerError):
    """Signing takes an unlock within the last minutes."""


class Changed(CallerError):
    """The version that the caller names is not the current one."""


class Invalid(CallerError):
    """A resource that cannot be taken. `problems`: one sentence each, naming elements, never values."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Refused(CallerError):
    """Not permitted. Says nothing about what exists behind it."""


class OperatorError(AggregatorError):
    """A setting, file or port is wrong; the message names it, what is wrong, and what would be right."""


class KeysMissing(OperatorError):
    """The key ring that belongs to this store is not there."""


class BlobsUnreachable(OperatorError):
    """The store of attachments does not answer now; nothing is lost, and the same may succeed later."""


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
