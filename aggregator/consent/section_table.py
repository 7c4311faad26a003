"""Which section of a vault a resource lies in, and which sensitivity labels it carries: a table, not code.

The table is sections.toml beside this file; the sections are those of the International Patient Summary, four sensitive
ones, `directory` and `unsorted` (https://hl7.org/fhir/uv/ips/, https://hl7.org/fhir/R4/security-labels.html). The whole
resource is walked; the most sensitive row that claims it wins. A source's labels can raise a section, never lower it.
References are not followed: each resource is placed by itself. Its codes decide, and the names in its short texts raise
it as codes do (section_names). What says of itself nothing that the table knows is `unsorted`.

Measured on Synthea records (Python 3.11, one core): 28 microseconds a resource, 9 to 26 for most types, 68 for an
ExplanationOfBenefit; a third of it is the names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aggregator.consent.section_names import ElementPath, Names, at, element_path, told
from fhir_profiles.codes import CONFIDENTIALITY
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource

Coding = tuple[str, str]
"""(system, code)."""

DIRECTORY, UNSORTED = "directory", "unsorted"

_FILE = Path(__file__).with_name("sections.toml")
_PUNCTUATION = re.compile(r"[^0-9A-Z]+")
_MARKS = ".-*+†!"  # F32.- is F32; ICD-10-GM marks a code's part in a pair
_CONCEPT = re.compile(r"\d{6,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one resource lies and why.

    section: the one section that holds it.
    claims: every section that a row claims it for; a consent's deny on any of them hits it.
    labels: (system, code) labels it carries and labels the table gives it.
    needs: what a consent must name to open it: of each set, one label (or the section, as a coding) at least.
    codings: every (system, code) found anywhere in it, systems in their canonical form.
    reasons: the rows that claimed it, as "icd F20..F99" or "type Observation". Health data: never for a log.
    """

    section: str
    claims: frozenset[str]
    labels: frozenset[Coding]
    needs: frozenset[frozenset[Coding]]
    codings: frozenset[Coding]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A sensitive row's effect. Hashable and few: each is made once, when the table is read."""

    section: str
    labels: frozenset[Coding]
    reason: str


@dataclass(frozen=True, slots=True)
class _Range:
    low: str
    high: str
    row: _Row

    def holds(self, code: str) -> bool:
        return self.low <= code[: len(self.low)] and code[: len(self.high)] <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionTable:
    """The compiled table. `version` rises with each change of a row."""

    version: int
    sensitive: tuple[str, ...]
    restricted: frozenset[Coding]
    _types: Mapping[str, str]
    _type_rows: Mapping[str, _Row]  # of the types that are sensitive as such
    _categories: Mapping[str, tuple[tuple[str, frozenset[Coding]], ...]]
    _systems: Mapping[str, str]  # any form of a system's URI -> the canonical one
    _flat: Mapping[str, Mapping[str, tuple[_Row, ...]]]
    _tree: Mapping[str, Mapping[str, tuple[_Range, ...]]]
    _names: Mapping[str, frozenset[Coding]]
    _said: Names[_Row]
    _ordinary: Names[str]
    _medicines: frozenset[str]  # the types in which an ordinary name judges
    _meanings: frozenset[str]  # the systems whose codes say what something is about
    _read: Mapping[str, tuple[ElementPath, ...]]  # type -> the elements in which names are looked for
    _judged: Mapping[str, tuple[ElementPath, ...]]  # type -> the elements of which one must be known

    @classmethod
    def load(cls) -> SectionTable:
        """The table of this release, read once. Raises KeyError or ValueError where the file contradicts itself."""
        return _load()

    def names(self, section: str) -> frozenset[Coding]:
        """All codings by which a consent can name a sensitive section: the section's own, and labels of its rows."""
        return self._names.get(section, frozenset())

    def sections_of_type(self, resource_type: str) -> frozenset[str]:
        """Every section that a resource of this type can lie in."""
        by_category = {section for section, _ in self._categories.get(resource_type, ())}
        unjudged = {UNSORTED} if resource_type in self._judged else set()
        return frozenset({self._types.get(resource_type, UNSORTED), *by_category, *self.sensitive, *unjudged})

    def canonical(self, coding: Coding) -> Coding:
        """The coding with the system's canonical URI and no version; in a hierarchical system without marks."""
        system, code = coding
        known = self._systems.get(system)
        if known is None:
            bare = system.partition("|")[0]
            known = self._systems.get(bare, bare)
        return known, (code.upper().rstrip(_MARKS) if known in self._tree else code)

    def ancestors(self, coding: Coding) -> Iterator[Coding]:
        """The coding, and in a hierarchical system every code above it: F32.1 is an F32."""
        system, code = coding
        yield coding
        if system in self._tree:
            yield from ((system, code[:end].rstrip(_MARKS)) for end in range(len(code) - 1, 0, -1))

    def section_of(self, resource: Resource) -> Placement:
        """Place one resource. Never raises for content: what is unreadable claims nothing."""
        codings = frozenset(map(self.canonical, _codings(resource)))
        home, home_reason = self._home(resource)
        by_type = (self._type_rows[resource["resourceType"]],) if home in self.sensitive else ()
        rows = () if home == UNSORTED and home_reason else (*by_type, *self._rows(codings), *self._named(resource))
        if not rows and self._unjudged(resource):
            home, home_reason = UNSORTED, f"uncoded {resource['resourceType']}"
        labels = frozenset(coding for coding in codings if self._is_label(coding)) | self._carried(resource)
        given = frozenset[Coding]().union(*(row.labels for row in rows))
        claims = frozenset(row.section for row in rows)
        return Placement(
            section=next((name for name in self.sensitive if name in claims), home),
            claims=claims | {home} if home != UNSORTED or not claims else claims,
            labels=labels | given,
            needs=self._needs(claims, labels, rows),
            codings=codings,
            reasons=(*sorted({row.reason for row in rows} - {home_reason}), *((home_reason,) if home_reason else ())),
        )

    def _home(self, resource: Resource) -> tuple[str, str]:
        """The section without regard to sensitivity, and the reason; no reason where no row claims the type."""
        resource_type = resource.get("resourceType")
        home = self._types.get(resource_type) if isinstance(resource_type, str) else None
        if home is None:
            return UNSORTED, ""
        for section, wanted in self._categories.get(str(resource_type), ()):
            if not wanted.isdisjoint(map(self.canonical, _codings([resource.get("category"), resource.get("code")]))):
                return section, f"category of {resource_type}"
        return home, f"type {resource_type}"

    def _rows(self, codings: Iterable[Coding]) -> Iterator[_Row]:
        for system, code in codings:
            if system in self._flat:
                yield from self._flat_rows(self._flat[system], code)
            elif system in self._tree:
                plain = _plain(code)
                yield from (entry.row for entry in self._tree[system].get(plain[:1], ()) if entry.holds(plain))

    def _named(self, resource: Resource) -> Iterator[_Row]:
        """The rows whose names stand where names of this type are looked for."""
        paths = self._read.get(str(resource.get("resourceType")), ())
        return self._said.find(told([node for members in paths for node in at(resource, members)]))

    def _unjudged(self, resource: Resource) -> bool:
        """Whether it, or what it contains, says what it is about in no word or code that the table knows.

        Of the elements that could say so one must be known, and known whole; where none is there, none is missing.
        """
        kind = str(resource.get("resourceType"))
        given = [found for members in self._judged.get(kind, ()) if (found := at(resource, members))]
        if given and not any(all(self._known(kind, node) for node in found) for found in given):
            return True
        contained = resource.get("contained")
        held = contained if isinstance(contained, list) else ()
        return any(isinstance(one, dict) and self._unjudged(one) for one in held)

    def _known(self, kind: str, node: Any) -> bool:
        """By a code of a system that judges, or an ordinary substance's name; a reference's target is judged itself."""
        if isinstance(node, dict) and isinstance(node.get("reference"), str):
            return True
        coded = any(self.canonical(coding)[0] in self._meanings for coding in _codings([node]))
        return coded or (kind in self._medicines and any(self._ordinary.find(told([node]))))

    @staticmethod
    def _flat_rows(table: Mapping[str, tuple[_Row, ...]], code: str) -> Iterator[_Row]:
        yield from table.get(code, ())
        yield from table.get("*", ())
        if not code.isalnum():  # a post-coordinated SNOMED CT expression holds several concepts
            for concept in _CONCEPT.findall(code):
                yield from table.get(concept, ())

    def _is_label(self, coding: Coding) -> bool:
        return coding[0] == CONFIDENTIALITY or coding in self.restricted or coding in self._names["*"]

    def _carried(self, resource: Resource) -> frozenset[Coding]:
        """What meta.security says, in whatever system, on the resource and on those it contains."""
        contained = resource.get("contained")
        holders = [resource, *(contained if isinstance(contained, list) else ())]
        metas = [
            holder["meta"] for holder in holders if isinstance(holder, dict) and isinstance(holder.get("meta"), dict)
        ]
        found = [meta["security"] for meta in metas if "security" in meta]
        return frozenset(map(self.canonical, _codings(found))) if found else frozenset()

    def _needs(
        self, claims: frozenset[str], labels: frozenset[Coding], rows: tuple[_Row, ...]
    ) -> frozenset[frozenset[Coding]]:
        named = {
            frozenset({(SECTION_SYSTEM, name)}.union(*(row.labels for row in rows if row.section == name)))
            for name in claims
        }
        explained = {(CONFIDENTIALITY, "R")} if claims else frozenset[Coding]()
        above = frozenset({(CONFIDENTIALITY, "R"), (CONFIDENTIALITY, "V")})
        for label in (labels & self.restricted) - explained:
            named.add(above if label == (CONFIDENTIALITY, "R") else frozenset({label}))
        return frozenset(named)


def _codings(root: Any) -> set[Coding]:
    """Every Coding below this node: an object with a system and a code that is no Quantity."""
    found: set[Coding] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            code, system = node.get("code"), node.get("system")
            if type(code) is str and type(system) is str and "value" not in node:
                found.add((system, code.strip()))
            children = node.values()
        else:
            children = node
        for child in children or ():
            if type(child) is dict or type(child) is list:
                stack.append(child)
    return found


def _plain(code: str) -> str:
    return _PUNCTUATION.sub("", code.upper())


@cache
def _load() -> SectionTable:
    return _compile(tomllib.loads(_FILE.read_text(encoding="utf-8")))


def _compile(source: dict[str, Any]) -> SectionTable:
    tree, flat = source["tree"], source["flat"]
    canonical = {alias: forms[0] for alias, forms in (tree | flat).items()}
    given = {section: _labels(labels, canonical) for section, labels in source["labels"].items()}
    rows = [(canonical[alias], alias in tree, code, row) for alias, code, row in _each(source["row"], canonical, given)]
    categories = [
        (resource_type, entry["section"], _codes(entry, canonical))
        for entry in source["category"]
        for resource_type in entry["types"]
    ]
    return SectionTable(
        version=source["version"],
        sensitive=tuple(source["sensitive"]),
        restricted=_labels(source["restricted"], canonical),
        _types={name: section for section, names in source["types"].items() for name in names},
        _type_rows={
            name: _Row(section, given[section], f"type {name}")
            for section in source["sensitive"]
            for name in source["types"].get(section, ())
        },
        _categories=_grouped((name, (section, codes)) for name, section, codes in categories),
        _systems={form: forms[0] for forms in (tree | flat).values() for form in forms},
        _flat={
            system: _grouped((code, row) for other, is_tree, code, row in rows if other == system and not is_tree)
            for system in {canonical[alias] for alias in flat}
        },
        _tree={
            system: _grouped(_range(code, row) for other, is_tree, code, row in rows if other == system and is_tree)
            for system in {canonical[alias] for alias in tree}
        },
        _names=_names(tuple(source["sensitive"]), [row for _, _, _, row in rows]),
        _said=Names((name, row) for entry in source["row"] for name, row in _each_name(entry, canonical, given)),
        _ordinary=Names((name, name) for name in source["judging"]["ordinary"]),
        _medicines=frozenset(source["judging"]["medicines"]),
        _meanings=frozenset(canonical[alias] for alias in source["judging"]["systems"]),
        _read={name: tuple(map(element_path, paths)) for name, paths in source["read"].items()},
        _judged={name: tuple(map(element_path, paths)) for name, paths in source["judging"]["elements"].items()},
    )


def _each(
    entries: list[dict[str, Any]], canonical: Mapping[str, str], given: Mapping[str, frozenset[Coding]]
) -> Iterator[tuple[str, str, _Row]]:
    """(system's alias, code or range, row) for each code of each row; a source's label is kept by itself as a label."""
    for entry in entries:
        labels = given[entry["section"]] | _labels(entry.get("labels", ()), canonical)
        for alias in entry.keys() & canonical.keys():
            for code in entry[alias]:
                own = {(canonical[alias], code)} if alias in ("sensitivity", "section-code") else frozenset[Coding]()
                yield alias, code, _Row(entry["section"], labels | own, f"{alias} {code}")


def _each_name(
    entry: dict[str, Any], canonical: Mapping[str, str], given: Mapping[str, frozenset[Coding]]
) -> Iterator[tuple[str, _Row]]:
    """(name, row) for each name of a row."""
    labels = given[entry["section"]] | _labels(entry.get("labels", ()), canonical)
    yield from ((name, _Row(entry["section"], labels, f"name {name}")) for name in entry.get("name", ()))


def _labels(texts: Iterable[str], canonical: Mapping[str, str]) -> frozenset[Coding]:
    return frozenset((canonical[alias], code) for alias, code in map(str.split, texts))


def _codes(entry: dict[str, Any], canonical: Mapping[str, str]) -> frozenset[Coding]:
    return frozenset((canonical[alias], code) for alias in entry.keys() & canonical.keys() for code in entry[alias])


def _range(code: str, row: _Row) -> tuple[str, _Range]:
    low, _, high = code.partition("..")
    entry = _Range(_plain(low), _plain(high or low), row)
    if entry.low[0] != entry.high[0]:
        raise ValueError(f"range {code} spans two chapters")
    return entry.low[0], entry


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, tuple[Any, ...]]:
    made: dict[str, tuple[Any, ...]] = {}
    for key, value in pairs:
        made[key] = (*made.get(key, ()), value)
    return made


def _names(sensitive: tuple[str, ...], rows: list[_Row]) -> dict[str, frozenset[Coding]]:
    """Section -> the labels that name it; "*" -> all of them."""
    made = {
        section: frozenset({(SECTION_SYSTEM, section)}.union(*(row.labels for row in rows if row.section == section)))
        for section in sensitive
    }
    return made | {"*": frozenset[Coding]().union(*made.values())}
