"""Numbers of one UCUM unit in another, the only door to ucumvert and pint. https://ucum.org."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

import pint
from lark.exceptions import LarkError
from ucumvert import PintUcumRegistry

Convert = Callable[[Decimal], float]
"""A number of one unit in another."""

_ANNOTATION = re.compile(r"\{[^{}]*\}")
_UNIT_OF_ITS_OWN = re.compile(r"(^|[/.(])\{[^{}]*\}")  # {score}, mL/min/{1.73_m2}
_HUGE = re.compile(r"\d{5}")  # such an exponent would be calculated for hours
_LONGEST = 40  # characters of a code that is worth being parsed
_DIGITS = 12  # of a converted number that many count: a unit's factor is no more exact
_NO_UNIT = (LarkError, pint.errors.PintError, ArithmeticError, ValueError)


def prepare() -> None:
    """What the first question would wait for: a second, in which a server answers nobody."""
    _registry()


def conversion(of: str, to: str) -> Convert | None:
    """From numbers of one unit to those of another; None where they do not measure the same, or on no linear scale."""
    one, other = _measured(of), _measured(to)
    if one == other:
        return float
    try:
        zero, unit, two = (_converted(number, one, other) for number in (0.0, 1.0, 2.0))
    except _NO_UNIT:
        return None
    factor = unit - zero
    if _rounded(zero + 2 * factor) != _rounded(two):
        return None  # decibels and their like
    return lambda number: _rounded(float(number) * factor + zero)


def _measured(code: str) -> str:
    """Without annotations, which measure nothing: https://ucum.org/ucum#para-12."""
    return _ANNOTATION.sub("", _UNIT_OF_ITS_OWN.sub(r"\g<1>1", code))


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _converted(number: float, of: str, to: str) -> float:
    one, other = _unit(of), _unit(to)
    scaled = _registry().Quantity(number * one.magnitude, one.units)
    return float(scaled.to(other.units).magnitude) / float(other.magnitude)


@lru_cache(maxsize=1024)
def _unit(code: str) -> Any:
    """Remembers what is a unit, and nothing else that a record may hold in its place."""
    if len(code) > _LONGEST or _HUGE.search(code):
        raise ValueError("no unit is as long")
    return _registry().from_ucum(code)


@cache
def _registry() -> PintUcumRegistry:
    return PintUcumRegistry()
