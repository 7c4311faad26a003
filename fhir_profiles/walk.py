"""How `check.py` walks an object: what a compiled type is, where it stands, what it gathers.

A type is compiled into a `Shape`: a table from JSON member to (quick test, walk). The quick test settles a good
primitive in one call; the walk is for what nests, and for saying what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from fhir_profiles.invariants import Rule
from fhir_profiles.structure import looks_like_a_name
from fhir_profiles.text import MAX_DEPTH

MAX_ISSUES = 100  # enough to see what is wrong; a million wrong entries must not make a million issues
_MAX_LEVEL = MAX_DEPTH // 2  # an element is at most a list of objects: two levels of JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing wrong.

    severity: "error" or "warning". code: a FHIR IssueType. expression: the place, as in
    "Observation.component[1].valueQuantity". text: a sentence that never holds a value of the resource.
    """

    severity: str
    code: str
    expression: str
    text: str


class Where(NamedTuple):
    """A place, written out only when something is wrong there. at: the index in a list, or -1."""

    parent: Where | None
    name: str
    at: int = -1
    level: int = 0

    def __str__(self) -> str:
        own = self.name if self.at < 0 else f"{self.name}[{self.at}]"
        return own if self.parent is None else f"{self.parent}.{own}"


class Enough(Exception):
    """MAX_ISSUES were found."""


class Run:
    """What one check gathers: the issues, and references into `contained` of the resource being walked."""

    __slots__ = ("errors", "issues", "local")

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self.errors = 0
        self.local: list[tuple[str, Where]] = []

    def report(self, severity: str, code: str, where: Where, text: str) -> None:
        """Note an issue. Raises Enough at the last one that is wanted."""
        self.issues.append(Issue(severity=severity, code=code, expression=str(where), text=text))
        self.errors += severity == "error"
        if len(self.issues) >= MAX_ISSUES:
            raise Enough

    def error(self, code: str, where: Where, text: str) -> None:
        """Note an error."""
        self.report("error", code, where, text)


Node = dict[str, Any]
Walk = Callable[[Any, Node, Where, Run], None]
"""(value, the object that holds it, that object's place, run)"""


class Field(NamedTuple):
    """How one JSON member is checked. accepts: settles a good value. name: without "_". choice: as in "value[x]"."""

    accepts: Callable[[Any], bool] | None
    walk: Walk
    name: str
    choice: str = ""


class Shape:
    """A compiled type. required: (label, the members of which one must be there). hook: runs on a sound object."""

    __slots__ = ("fields", "hook", "required", "rules")

    def __init__(self) -> None:
        self.fields: dict[str, Field] = {}
        self.required: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self.rules: tuple[Rule, ...] = ()
        self.hook: Callable[[Node, Where, Run], None] | None = None


def walk_object(shape: Shape, value: Any, where: Where, run: Run) -> None:
    """Check a value that must be an object of this shape. Invariants are asked only where the structure is sound."""
    if fault := _no_object(value, where):
        run.error(*fault)
        return
    before = run.errors
    _walk_members(shape.fields, value, where, run)
    for label, names in shape.required:
        if value.keys().isdisjoint(names):
            run.error("required", Where(where, label), "is required")
    if run.errors != before:
        return
    for rule in shape.rules:
        if not rule.holds(value):
            run.error("invariant", where, f"breaks {rule.key}: {rule.text}")
    if shape.hook is not None:
        shape.hook(value, where, run)


def _no_object(value: Any, where: Where) -> tuple[str, Where, str] | None:
    if type(value) is not dict:
        return "structure", where, "expects an object"
    if not value:
        return "structure", where, "is empty"
    if where.level > _MAX_LEVEL:
        return "too-costly", where, "is nested too deeply"
    return None


def _walk_members(fields: dict[str, Field], value: Node, where: Where, run: Run) -> None:
    chosen: dict[str, str] = {}
    for name, child in value.items():
        field = fields.get(name)
        if field is None:
            _unknown(name, where, run)
            continue
        accepts, walk, own, choice = field
        if accepts is None or not accepts(child):
            walk(child, value, where, run)
        if choice and chosen.setdefault(choice, own) != own:
            run.error("structure", where, f"holds more than one form of {choice}")


def _unknown(name: str, where: Where, run: Run) -> None:
    # A name that could not be an element's is not repeated: it may be anything, a patient's name too.
    if looks_like_a_name(name):
        run.error("structure", Where(where, name), "is not an element of R4")
    else:
        run.error("structure", where, "holds an unknown member")


def is_list(value: Any, where: Where, name: str, run: Run) -> bool:
    """Whether a member's value is a list with something in it; if not, that is reported."""
    if type(value) is not list:
        run.error("structure", Where(where, name), "expects a list")
    elif not value:
        run.error("structure", Where(where, name), "is an empty list")
    else:
        return True
    return False
