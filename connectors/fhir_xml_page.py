"""A page of FHIR XML in which one resource does not parse: the others are read, and that one is set aside.

https://hl7.org/fhir/R4/xml.html. `fhir_profiles.xml` refuses a document as a whole, as it should: an element that is
left out may turn a statement into its opposite. For a page the whole is each of its resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lxml import etree

from fhir_profiles import xml
from fhir_profiles.text import Resource

_FHIR = f"{{{xml.FHIR}}}"
_parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_pis=True)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a resource that is no FHIR XML.

    raw: its XML. outline: type, id and whatever else can be told of it, enough to see whose it is and nothing more.
    """

    raw: bytes
    outline: Resource


def to_json(data: bytes) -> Resource:
    """The resource in an XML document; a Bundle may hold Unreadable where a resource should be.

    Raises xml.NotXml where the document itself, or the Bundle around the resources, is no FHIR XML.
    """
    try:
        return xml.to_json(data)
    except xml.NotXml:
        return _one_by_one(data)


def _one_by_one(data: bytes) -> Resource:
    root = _root(data)
    holders = root.findall(f"{_FHIR}entry/{_FHIR}resource")
    read = [_read(holder) for holder in holders]
    for number, holder in enumerate(holders):
        _replace_by_number(holder, number)
    bundle = xml.to_json(etree.tostring(root))
    for entry in bundle["entry"]:
        if "resource" in entry:
            entry["resource"] = read[int(entry["resource"]["id"])]
    return bundle


def _root(data: bytes) -> etree._Element:
    try:
        root = etree.fromstring(data, _parser)
    except etree.XMLSyntaxError:
        raise xml.NotXml("the page is not well-formed") from None
    if root.tag != f"{_FHIR}Bundle" or root.getroottree().docinfo.internalDTD is not None:
        raise xml.NotXml("the page is no Bundle, or declares a document type")
    if root.find(f"{_FHIR}entry/{_FHIR}resource") is None:
        raise xml.NotXml("the Bundle is wrong where no resource is")
    return root


def _read(holder: etree._Element) -> Resource | Unreadable:
    raw = b"".join(etree.tostring(child, with_tail=False) for child in holder)
    try:
        return xml.to_json(raw)
    except xml.NotXml:
        first = holder.find("*")
        outline = {} if first is None else {"resourceType": _name(first), **_outline_of_children(first)}
        return Unreadable(raw, outline)


def _replace_by_number(holder: etree._Element, number: int) -> None:
    for child in list(holder):
        holder.remove(child)
    etree.SubElement(etree.SubElement(holder, f"{_FHIR}Basic"), f"{_FHIR}id", value=str(number))


def _outline_of_children(node: etree._Element) -> dict[str, Any]:
    """Elements by name, one as it is and several as a list; FHIR's cardinalities do not matter to an outline."""
    made: dict[str, Any] = {}
    for child in node.iterchildren("*"):
        made.setdefault(_name(child), []).append(child.get("value") or _outline_of_children(child))
    return {name: values[0] if len(values) == 1 else values for name, values in made.items()}


def _name(node: etree._Element) -> str:
    return str(node.tag).rpartition("}")[2]
