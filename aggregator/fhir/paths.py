"""FHIRPath as far as R4's search parameters use it, compiled to plain functions. https://hl7.org/fhirpath.

    name.given                          names, through lists; a choice stands for each of its forms
    value.as(Quantity)                  one form of a choice
    telecom.where(system='phone')       those that hold this
    entry[0].resource                   the first
    deceased.exists() and deceased != false
    %resource.referenceSeq.chromosome   from the resource, wherever the expression begins

`fhirpathpy` is the oracle of its tests. What a reference resolves to is not asked here: see `Place.only`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aggregator.vault.index_rows import Rows
from fhir_profiles.structure import Element, type_of

Node = Mapping[str, Any]
Find = Callable[[Node], Iterable[Any]]
"""Gives the values at the end of a path, from the element it begins at."""

RESOURCE = "%resource."
_STEP = re.compile(r"\.?([A-Za-z]+)(?:\[(\d+)\]|\(([^()]*)\))?")
_HOLDS = re.compile(r"(\w+)='([^']*)'")
_TRUTH = re.compile(r"(\w+)\.exists\(\) and \1 != false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """Where an expression ends: one datatype. head: the member it begins with; "" where it is about the whole.

    value_set: what a code's binding requires, "" where nothing is.
    """

    head: str
    datatype: str
    value_set: str
    find: Find


Enter = Callable[[Any, Leaf, int, Rows], bool]
"""Puts the rows of a value found at a leaf, of a place with this scope, into the index. False: it has none."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A member of an element, and which of its values are meant."""

    element: Element
    keep: Callable[[list[Any]], Iterable[Any]] = iter


_Path = tuple[_Step, ...]


def leaves(start: str, expression: str) -> list[Leaf]:
    """What an expression finds below an element of the type `start`. Raises ValueError for what is not understood."""
    if truth := _TRUTH.fullmatch(expression):
        return [_truth(start, truth[1])]
    paths, at = [_Path()], 0
    while at < len(expression):
        step = _STEP.match(expression, at)
        if step is None:
            raise ValueError(f"{start}: {expression}: not understood")
        paths, at = list(_stepped(start, paths, step)), step.end()
    if not all(paths):
        raise ValueError(f"{start}: {expression}: there is no such element")
    return [_leaf(path) for path in paths]


def _stepped(start: str, paths: list[_Path], step: re.Match[str]) -> Iterator[_Path]:
    name, index, argument = step.groups()
    for path in paths:
        if argument is None:
            yield from _deeper(start, path, name, index)
        elif name in ("as", "ofType"):
            if path[-1].element.type == argument:
                yield path
        elif name == "where" and (holds := _HOLDS.fullmatch(argument)):
            yield (*path[:-1], _Step(path[-1].element, _holding(holds[1], holds[2])))
        else:
            raise ValueError(f"{start}: {step[0]}: not understood")


def _deeper(start: str, path: _Path, name: str, index: str | None) -> Iterator[_Path]:
    """Along a member, or along each form of a choice."""
    elements = type_of(path[-1].element.type if path else start).elements.values()
    for element in elements:
        if element.name == name or element.choice == f"{name}[x]":
            yield (*path, _Step(element, iter if index is None else _only(int(index))))


def _holding(name: str, value: str) -> Callable[[list[Any]], Iterable[Any]]:
    return lambda found: (one for one in found if isinstance(one, dict) and one.get(name) == value)


def _only(index: int) -> Callable[[list[Any]], Iterable[Any]]:
    return lambda found: found[index : index + 1]


def _leaf(path: _Path) -> Leaf:
    last = path[-1].element
    return Leaf(head=path[0].element.name, datatype=last.type, value_set=last.value_set, find=_finder(path))


def _finder(path: _Path) -> Find:
    name, keep, rest = path[0].element.name, path[0].keep, path[1:]

    def here(node: Node) -> Iterable[Any]:
        value = node.get(name)
        return () if value is None else keep(value if isinstance(value, list) else [value])

    if not rest:
        return here
    deeper = _finder(rest)

    def below(node: Node) -> Iterator[Any]:
        for child in here(node):
            if isinstance(child, dict):
                yield from deeper(child)

    return below


def _truth(start: str, name: str) -> Leaf:
    """Whether an element is there and not false: R4's `Patient.deceased`, which may be a date."""
    finds = [leaf.find for leaf in leaves(start, name)]

    def find(node: Node) -> Iterable[Any]:
        return [any(value is not False for find in finds for value in find(node))]

    return Leaf(head="", datatype="boolean", value_set="", find=find)
