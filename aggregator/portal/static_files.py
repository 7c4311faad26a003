"""Stylesheet and scripts: served by us, under an address with a hash of what they hold: browsers keep them.

The hash is of all of them together: a script that loads its neighbour finds the one that it was written with.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES = {"css": "text/css", "mjs": "text/javascript", "svg": "image/svg+xml"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


class StaticFiles:
    """All of them, read once."""

    def __init__(self) -> None:
        folder = files("aggregator.portal") / "static"
        self._files = {file.name: file.read_bytes() for file in folder.iterdir()}
        every = b"".join(name.encode() + b"\0" + body for name, body in sorted(self._files.items()))
        self._hash = hashlib.sha256(every).hexdigest()[:16]

    def address(self, name: str) -> str:
        """Where a page finds one. Raises KeyError."""
        self._files[name]
        return f"/app/static/{self._hash}/{name}"

    async def answer(self, request: Request) -> Response:
        """One file; nothing else is there, and none of another version."""
        version, name = (request.path_params[part] for part in ("version", "name"))
        if version != self._hash or name not in self._files:
            raise HTTPException(404)
        return Response(self._files[name], headers=_FOR_EVER, media_type=_TYPES[name.rpartition(".")[2]])
