"""The types of search parameters, each in a file: what is asked, and what it asks of an image.

https://hl7.org/fhir/R4/search.html#ptypes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Condition
from aggregator.fhir.parameters import Kind
from aggregator.fhir.search_types import date, reference, string, token

Parse = Callable[[Asked], Condition]
"""Understands the values of a parameter. Raises BadQuery."""

PARSERS: Mapping[Kind, Parse] = {
    Kind.TOKEN: token.parse,
    Kind.REFERENCE: reference.parse,
    Kind.STRING: string.parse,
    Kind.DATE: date.parse,
}
