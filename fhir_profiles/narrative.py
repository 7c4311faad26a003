"""The XHTML of a narrative (https://hl7.org/fhir/R4/narrative.html, invariants txt-1 and txt-2).

What could act in a reader's browser (scripts, forms, frames, event handlers, `javascript:`) and what is no XHTML at all
is an error: nobody downstream should have to be the one who noticed. What is merely beyond the basic set of tags, or
fetches a picture from elsewhere, which R4 allows, is a warning: the resource is worth more than its decoration, and our
pages send a strict Content-Security-Policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

XHTML = "http://www.w3.org/1999/xhtml"
_PREFIX = f"{{{XHTML}}}"
_ROOT = _PREFIX + "div"

_active = re.compile(
    "applet|audio|base|body|button|canvas|embed|fieldset|form|frame|frameset|head|html|iframe|input|keygen|link|math|"
    "meta|object|option|script|select|source|style|svg|template|textarea|title|video"
).fullmatch
_plain = re.compile(
    "a|abbr|acronym|address|area|b|bdo|big|blockquote|br|caption|center|cite|code|col|colgroup|dd|del|dfn|div|dl|dt|em|"
    "font|h[1-6]|hr|i|img|ins|kbd|li|map|ol|p|pre|q|s|samp|small|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|"
    "thead|tr|tt|u|ul|var"
).fullmatch
_acts = re.compile(
    r"[\s\x00]*(?:j\s*a\s*v\s*a|v\s*b|l\s*i\s*v\s*e)\s*s\s*c\s*r\s*i\s*p\s*t\s*:|[\s\x00]*data:text/html", re.IGNORECASE
).match
_style_acts = re.compile(r"expression\s*\(|javascript:|-moz-binding|@import", re.IGNORECASE).search
_style_fetches = re.compile(r"url\s*\(", re.IGNORECASE).search
_elsewhere = re.compile(r"[a-z][a-z0-9+.-]*://|//", re.IGNORECASE).match

# Attribute -> what must not be in it, what had better not.
_ACTING = {"href": _acts, "src": _acts, "background": _acts, "cite": _acts, "action": _acts, "style": _style_acts}
_FETCHING = {"src": _elsewhere, "background": _elsewhere, "style": _style_fetches}

# No entity is known but XML's own: a document type, which could bring others, is refused below.
_parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a narrative: severity "error" or "warning", and a sentence that quotes nothing."""

    severity: str
    text: str


def faults(div: str) -> Iterator[Fault]:
    """What is wrong with the text of a `div`, each kind of fault once."""
    try:
        root = etree.fromstring(div.encode(), _parser)
    except (etree.XMLSyntaxError, ValueError):
        yield Fault("error", "is not well-formed XHTML")
        return
    if _doctype(root):
        yield Fault("error", "holds a document type")
    elif root.tag != _ROOT:
        yield Fault("error", "is not one div in the XHTML namespace")
    else:
        yield from dict.fromkeys(_faults_in(root))


def _doctype(root: etree._Element) -> bool:
    return root.getroottree().docinfo.internalDTD is not None


def _faults_in(root: etree._Element) -> Iterator[Fault]:
    empty = True
    for node in root.iter():
        if not isinstance(node.tag, str):  # a comment or a processing instruction
            empty = empty and not (node.tail or "").strip()
            continue
        empty = empty and node.tag != _PREFIX + "img" and not ((node.text or "") + (node.tail or "")).strip()
        yield from _tag_faults(node)
        for name, value in node.items():
            yield from _attribute_faults(str(name).lower(), str(value))
    if empty:
        yield Fault("error", "has no content")


def _tag_faults(node: etree._Element) -> Iterator[Fault]:
    name = etree.QName(node)
    if name.namespace != XHTML or _active(name.localname.lower()):
        yield Fault("error", "holds a tag that can act or is no XHTML")
    elif not _plain(name.localname):
        yield Fault("warning", "holds a tag beyond the basic set")


def _attribute_faults(name: str, value: str) -> Iterator[Fault]:
    local = name.rpartition("}")[2]
    if local.startswith("on") or ((acts := _ACTING.get(local)) and acts(value)):
        yield Fault("error", "holds a script")
    elif (fetches := _FETCHING.get(local)) and fetches(value):
        yield Fault("warning", "fetches something from elsewhere")
