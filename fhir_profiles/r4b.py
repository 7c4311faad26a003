"""What R4B (4.3.0) has otherwise than R4 (4.0.1), as data: types and elements. https://hl7.org/fhir/R4B/history.html

R4 is what is taken and served here. A type or element of R4B alone is refused by name; the types of R4 alone are taken,
without the second opinion of the models in `model.py`, which are R4B's.
"""

from __future__ import annotations

from pathlib import Path

import orjson

_TOLD = orjson.loads((Path(__file__).parent / "codes" / "r4b.json").read_bytes())

ONLY_R4 = frozenset[str](_TOLD["only_r4"])
ONLY_R4B = frozenset[str](_TOLD["only_r4b"])
REDESIGNED = frozenset[str](_TOLD["redesigned"])
"""Types of the same name, most of whose elements are others."""

ELEMENTS_ONLY_R4: dict[str, tuple[str, ...]] = {name: tuple(one) for name, one in _TOLD["elements_only_r4"].items()}
ELEMENTS_ONLY_R4B: dict[str, tuple[str, ...]] = {name: tuple(one) for name, one in _TOLD["elements_only_r4b"].items()}
"""Type -> its elements, where the types are the same but for these."""
