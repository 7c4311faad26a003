"""How one member of an object is checked, by what it is: a primitive, its `_name`, an object, a bound concept, XHTML.

https://hl7.org/fhir/R4/json.html#primitive says how a primitive and its extensions stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_profiles import narrative
from fhir_profiles.primitives import ACCEPTS, fault
from fhir_profiles.walk import Field, Node, Run, Shape, Where, is_list, walk_object


def primitive(kind: str, name: str, allowed: frozenset[str]) -> Field:
    """A primitive; `allowed` are the codes of a required binding, empty for none."""
    accepts = _accepts(kind, allowed)

    def walk(value: Any, _owner: Node, where: Where, run: Run) -> None:
        _explain(kind, value, Where(where, name), run)

    return Field(accepts, walk, name)


def primitives(kind: str, name: str, allowed: frozenset[str]) -> Field:
    """A list of primitives. null stands where only the list of extensions has something."""
    accepts = _accepts(kind, allowed)

    def walk(value: Any, owner: Node, where: Where, run: Run) -> None:
        if not is_list(value, where, name, run):
            return
        beside = owner.get("_" + name)
        for index, one in enumerate(value):
            if not accepts(one) and not (one is None and _stands(beside, index)):
                _explain(kind, one, Where(where, name, index), run)

    return Field(None, walk, name)


def _accepts(kind: str, allowed: frozenset[str]) -> Callable[[Any], bool]:
    return _one_of(allowed) if allowed else ACCEPTS[kind]


def _one_of(allowed: frozenset[str]) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        return type(value) is str and value in allowed

    return accepts


def _explain(kind: str, value: Any, where: Where, run: Run) -> None:
    """Report a value that was not accepted: for its form, or else because the value set does not have it."""
    if ACCEPTS[kind](value):
        run.error("code-invalid", where, "is not a code of the required value set")
        return
    code, text = fault(kind, value)
    run.error(code, where, text)


def _stands(listed: Any, index: int) -> bool:
    """Whether a list holds something at this index."""
    return type(listed) is list and index < len(listed) and listed[index] is not None


def sibling(element: Shape, name: str) -> Field:
    """`_name`: id and extensions of a primitive."""
    label = "_" + name

    def walk(value: Any, _owner: Node, where: Where, run: Run) -> None:
        walk_object(element, value, Where(where, label, -1, where.level + 1), run)

    return Field(None, walk, name)


def siblings(element: Shape, name: str) -> Field:
    """`_name` of a list of primitives: as long as that list, null where there is nothing to say."""
    label = "_" + name

    def walk(value: Any, owner: Node, where: Where, run: Run) -> None:
        if not is_list(value, where, label, run):
            return
        values = owner.get(name)
        if type(values) is list and len(values) != len(value):
            run.error("structure", Where(where, label), "is not as long as the list it belongs to")
        for index, one in enumerate(value):
            if one is not None:
                walk_object(element, one, Where(where, label, index, where.level + 1), run)
            elif not _stands(values, index):
                run.error("structure", Where(where, label, index), "has neither a value nor an extension")

    return Field(None, walk, name)


def item(shape: Shape, name: str) -> Field:
    """One object."""

    def walk(value: Any, _owner: Node, where: Where, run: Run) -> None:
        walk_object(shape, value, Where(where, name, -1, where.level + 1), run)

    return Field(None, walk, name)


def items(shape: Shape, name: str) -> Field:
    """A list of objects."""

    def walk(value: Any, _owner: Node, where: Where, run: Run) -> None:
        if is_list(value, where, name, run):
            level = where.level + 1
            for index, one in enumerate(value):
                walk_object(shape, one, Where(where, name, index, level), run)

    return Field(None, walk, name)


def concept(shape: Shape, name: str, allowed: frozenset[tuple[str, str]]) -> Field:
    """A CodeableConcept under a required binding: one of its codings is of the value set; text alone is not."""

    def walk(value: Any, _owner: Node, where: Where, run: Run) -> None:
        place, before = Where(where, name, -1, where.level + 1), run.errors
        walk_object(shape, value, place, run)
        if run.errors == before and _codings(value).isdisjoint(allowed):
            run.error("code-invalid", place, "has no coding of the required value set")

    return Field(None, walk, name)


def _codings(value: Node) -> set[tuple[str | None, str | None]]:
    return {(one.get("system"), one.get("code")) for one in value.get("coding", ())}


def xhtml(name: str) -> Field:
    """The div of a narrative."""

    def walk(value: Any, _owner: Node, where: Where, run: Run) -> None:
        place = Where(where, name)
        if not ACCEPTS["string"](value):
            _explain("string", value, place, run)
            return
        for found in narrative.faults(value):
            run.report(found.severity, "invariant", place, f"txt-1: {found.text}")

    return Field(None, walk, name)
