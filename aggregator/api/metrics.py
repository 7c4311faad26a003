"""/metrics: numbers for the operator, none of which names anyone.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Mapping

MEDIA_TYPE = "text/plain; version=0.0.4"

_THROTTLED = """\
# HELP aggregator_throttled_total Requests that this server refused since it started, by the limit that was reached.
# TYPE aggregator_throttled_total counter
"""


def exposition(refused: Mapping[str, int]) -> str:
    """refused: how often each limit on grantees was reached."""
    lines = (f'aggregator_throttled_total{{limit="{limit}"}} {number}\n' for limit, number in sorted(refused.items()))
    return _THROTTLED + "".join(lines)
