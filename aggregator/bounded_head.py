"""uvicorn's protocol with a bound on what is no body: by itself it reads a head of any length into the memory."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LONGEST = 64 * 1024  # bytes of a head, or of what stands between the parts of a body


class BoundedHead(HttpToolsProtocol):
    """Ends the connection of who sends more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._no_body = 0

    def data_received(self, data: bytes) -> None:
        """What comes in one piece (256 KB at most) is read before it is counted."""
        self._no_body += len(data)
        super().data_received(data)
        if self._no_body > _LONGEST:
            self.transport.close()

    def on_message_begin(self) -> None:
        """The next request."""
        self._no_body = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """The application bounds bodies (`api/bodies.py`)."""
        self._no_body -= len(body)
        super().on_body(body)
