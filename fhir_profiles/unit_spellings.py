"""Units of measure as German laboratories and practices write them: codes/unit_spellings.toml has each one's UCUM code.

https://ucum.org.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parent / "codes" / "unit_spellings.toml"
_GREEK_MU, _MICRO_SIGN = "\u03bc", "\u00b5"  # look alike


def spelled(text: str) -> str | None:
    """The UCUM code of a unit as it is written; None where that is not known. Spaces do not count, case does."""
    return _table().get(text.replace(" ", "").replace(_GREEK_MU, _MICRO_SIGN))


@cache
def _table() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    return found
