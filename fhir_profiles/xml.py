"""FHIR XML <-> FHIR JSON (https://hl7.org/fhir/R4/xml.html, https://hl7.org/fhir/R4/json.html).

Driven by the tables of `structure.py`; a decimal keeps the digits it was written with (7.20 stays 7.20). What has no
place in the tables is an error that names the place, never dropped; comments alone are. Whether the values are right is
for `check.py` to say.

Document types are refused, so no entity but XML's own is ever known, and nothing is fetched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

from lxml import etree

from fhir_profiles import structure
from fhir_profiles.text import NotJson, Number, Resource, loads

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
_FHIR, _DIV = f"{{{FHIR}}}", f"{{{XHTML}}}div"
_DEFAULT: dict[Any, str] = {None: FHIR}
_SCHEMA_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"

_parser = etree.XMLParser(
    resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=False, remove_pis=True
)


class NotXml(ValueError):
    """Not FHIR XML, or a resource that FHIR XML cannot carry. The message names the place, never the content.

    place: the element, as a path from its resource; empty where it is the whole document.
    """

    place = ""


def _no(place: str, text: str) -> NotXml:
    error = NotXml(f"{place or 'the document'} {text}")
    error.place = place
    return error


def _unknown(place: str, name: str) -> NotXml:
    # A name that could not be an element's may be anything, so it is not repeated.
    if structure.looks_like_a_name(name):
        return _no(f"{place}.{name}", "is not an element of R4")
    return _no(place, "holds something that is not an element of R4")


# --- XML to JSON


def to_json(data: bytes) -> Resource:
    """The resource that a FHIR XML document holds. Raises NotXml."""
    try:
        root = etree.fromstring(data, _parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise NotXml(f"not well-formed at line {line} column {column}") from None
    if _doctype(root):
        raise NotXml("a document type is not accepted")
    try:
        return _resource_from(root, "")
    except RecursionError:
        raise NotXml("nested too deeply") from None


def _doctype(root: etree._Element) -> bool:
    return root.getroottree().docinfo.internalDTD is not None


def _name_of(node: etree._Element, place: str) -> str:
    tag = str(node.tag)
    if not tag.startswith(_FHIR):
        raise _no(place, "holds an element of another namespace than FHIR's")
    return tag.removeprefix(_FHIR)


def _resource_from(node: etree._Element, place: str) -> Resource:
    name = _name_of(node, place)
    if name not in structure.RESOURCES:
        raise _no(place, "holds no resource type of R4")
    return {"resourceType": name, **_object_from(node, structure.type_of(name), place or name)}


def _children(node: etree._Element, place: str) -> Iterator[etree._Element]:
    """The child elements. Text between them is lost to JSON, so it is an error."""
    if (node.text or "").strip():
        raise _no(place, "holds text beside its elements")
    for child in node:
        if (child.tail or "").strip():
            raise _no(place, "holds text beside its elements")
        if isinstance(child.tag, str):  # and not a comment
            yield child


def _object_from(node: etree._Element, kind: structure.Type, place: str) -> dict[str, Any]:
    made = _attributes_from(node, kind, place)
    for child in _children(node, place):
        name = "div" if child.tag == _DIV else _name_of(child, place)
        element = kind.elements.get(name)
        if element is None or element.attribute:
            raise _unknown(place, name)
        _put(made, element, child, f"{place}.{name}")
    return made


def _attributes_from(node: etree._Element, kind: structure.Type, place: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in node.items():
        name = str(key)
        element = kind.elements.get(name)
        if element is not None and element.attribute:
            made[name] = str(value)
        elif name != _SCHEMA_LOCATION:
            raise _no(place, "holds an unknown attribute")
    return made


def _put(made: dict[str, Any], element: structure.Element, child: etree._Element, place: str) -> None:
    if element.has_sibling:
        _put_primitive(made, element, child, place)
        return
    value = _value_from(element.type, child, place)
    if element.many:
        made.setdefault(element.name, []).append(value)
    elif element.name in made:
        raise _no(place, "is there more than once")
    else:
        made[element.name] = value


def _value_from(kind: str, node: etree._Element, place: str) -> Any:
    if kind == "xhtml":
        return _div_from(node)
    if kind == "Resource":
        inner = list(_children(node, place))
        if len(inner) != 1:
            raise _no(place, "must hold one resource")
        return _resource_from(inner[0], place)
    return _object_from(node, structure.type_of(kind), place)


def _div_from(node: etree._Element) -> str:
    alone = copy.deepcopy(node)
    alone.tail = None
    etree.cleanup_namespaces(alone)
    return etree.tostring(alone, encoding="unicode")


def _put_primitive(made: dict[str, Any], element: structure.Element, child: etree._Element, place: str) -> None:
    text = child.get("value")
    value = None if text is None else _SCALARS.get(element.type, _as_text)(text, place)
    beside = _beside_from(child, place)
    if value is None and beside is None:
        raise _no(place, "has neither a value nor an extension")
    if element.many:
        _append(made, element.name, value, beside)
    elif element.name in made or "_" + element.name in made:
        raise _no(place, "is there more than once")
    else:
        made |= {key: one for key, one in ((element.name, value), ("_" + element.name, beside)) if one is not None}


def _beside_from(node: etree._Element, place: str) -> dict[str, Any] | None:
    """What JSON writes as `_name`: id and extensions."""
    kind = structure.type_of("Element")
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key == "id":
            made["id"] = str(value)
        elif key != "value":
            raise _no(place, "holds an unknown attribute")
    for child in _children(node, place):
        if _name_of(child, place) != "extension":
            raise _no(place, "holds an element beside its value")
        _put(made, kind.elements["extension"], child, f"{place}.extension")
    return made or None


def _append(made: dict[str, Any], name: str, value: Any, beside: dict[str, Any] | None) -> None:
    """Two lists side by side, each with null where only the other has something, each absent where it has nothing."""
    size = len(made.get(name) or made.get("_" + name) or ())
    for key, one in ((name, value), ("_" + name, beside)):
        if one is not None and key not in made:
            made[key] = [None] * size
        if key in made:
            made[key].append(one)


_booleans = {"true": True, "false": False}


def _as_text(text: str, _place: str) -> str:
    return text


def _as_boolean(text: str, place: str) -> bool:
    try:
        return _booleans[text]
    except KeyError:
        raise _no(place, "is neither true nor false") from None


def _as_number(text: str, place: str) -> int | Number:
    try:
        value = loads(text) if text == text.strip() else None
    except NotJson:
        value = None
    if type(value) is int or type(value) is Number:
        return value
    raise _no(place, "is not a number")


_SCALARS: dict[str, Callable[[str, str], Any]] = {
    "boolean": _as_boolean,
    "decimal": _as_number,
    "integer": _as_number,
    "positiveInt": _as_number,
    "unsignedInt": _as_number,
}


# --- JSON to XML


def to_xml(resource: Resource, *, pretty: bool = False) -> bytes:
    """The resource as a FHIR XML document in UTF-8. Raises NotXml where it is not of R4's structure.

    pretty: indented for people, which may add white space between the elements of a narrative.
    """
    try:
        root = _resource_to(resource, "")
    except RecursionError:
        raise NotXml("nested too deeply") from None
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True, pretty_print=pretty)


def _resource_to(resource: Any, place: str) -> etree._Element:
    name = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(name, str) or name not in structure.RESOURCES:
        raise _no(place, "holds no resource type of R4")
    # The namespace is declared where a resource begins; lxml does not repeat it inside.
    node = etree.Element(_FHIR + name, nsmap=_DEFAULT)
    members = {key: value for key, value in resource.items() if key != "resourceType"}
    _object_to(node, members, structure.type_of(name), place or name)
    return node


def _object_to(node: etree._Element, value: Any, kind: structure.Type, place: str) -> None:
    if not isinstance(value, dict):
        raise _no(place, "expects an object")
    _refuse_unknown(value, kind, place)
    for element in kind.elements.values():
        if element.attribute:
            if element.name in value:
                _set(node, element.name, value[element.name], f"{place}.{element.name}")
        elif element.name in value or "_" + element.name in value:
            for one, beside in _pairs(value, element, place):
                _child_to(node, element, one, beside, f"{place}.{element.name}")


def _refuse_unknown(value: dict[str, Any], kind: structure.Type, place: str) -> None:
    for key in value:
        element = kind.elements.get(key.removeprefix("_"))
        if element is None or (key.startswith("_") and not element.has_sibling):
            raise _unknown(place, key)


def _pairs(value: dict[str, Any], element: structure.Element, place: str) -> Iterator[tuple[Any, Any]]:
    """(value, what stands in `_name`) for each time that the element is written."""
    one, beside = value.get(element.name), value.get("_" + element.name)
    if not element.many:
        yield one, beside
        return
    place = f"{place}.{element.name}"
    yield from zip_longest(_listed(one, place), _listed(beside, place))


def _listed(value: Any, place: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise _no(place, "expects a list")
    if value == []:
        raise _no(place, "is an empty list")
    return value or []


def _child_to(node: etree._Element, element: structure.Element, value: Any, beside: Any, place: str) -> None:
    if element.type == "xhtml":
        node.append(_div_to(value, place))
        return
    child = etree.SubElement(node, _FHIR + element.name)
    if element.type == "Resource":
        child.append(_resource_to(value, place))
    elif element.type not in structure.PRIMITIVES:
        _object_to(child, value, structure.type_of(element.type), place)
    elif value is None and not beside:
        raise _no(place, "has neither a value nor an extension")
    else:
        if beside is not None:
            _object_to(child, beside, structure.type_of("Element"), place)
        if value is not None:
            _set(child, "value", value, place)


def _set(node: etree._Element, name: str, value: Any, place: str) -> None:
    text = _scalar(value, place)
    try:
        node.set(name, text)
    except ValueError:
        raise _no(place, "holds a character that XML does not know") from None


def _scalar(value: Any, place: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Number():
            return value.text
        case str():
            return value
    raise _no(place, "expects a string, number or boolean")


def _div_to(value: Any, place: str) -> etree._Element:
    try:
        root = etree.fromstring(value.encode(), _parser)
    except (AttributeError, ValueError, etree.XMLSyntaxError):
        raise _no(place, "is not well-formed XHTML") from None
    if root.tag != _DIV or _doctype(root):
        raise _no(place, "is not one div in the XHTML namespace")
    return root
