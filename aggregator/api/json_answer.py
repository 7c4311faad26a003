"""What the routes beside FHIR answer with. That nobody may keep it, every answer says (`headers.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def json_answer(told: Mapping[str, Any], status: int = 200) -> Response:
    """The object as JSON."""
    return Response(orjson.dumps(told), status, media_type="application/json")
