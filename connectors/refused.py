"""Why bytes are not what their format says: for parsers of files, whose caller quarantines with this reason."""

from __future__ import annotations

from connectors.contract import Reason


class Refused(Exception):
    """Carries the reason code. The message names places, never the content, and is no whole sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
