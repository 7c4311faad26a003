"""What a narrative may hold, and what makes it an error or a warning."""

from __future__ import annotations

import pytest

from fhir_profiles.check import check

GOOD = {
    "text": "x",
    "entities of XML": "a &lt; b &amp; c &#160;",
    "the basic set": '<table><tbody><tr><td style="color: red" colspan="2"><b>x</b><br/></td></tr></tbody></table>',
    "a link": '<a href="https://example.org">x</a><a href="#p">y</a>',
    "a picture of its own": '<img src="data:image/png;base64,QQ==" alt=""/>',
    "a comment": "<!-- c -->x",
}
ERRORS = {
    "a script": ("<script>x</script>", "holds a tag that can act or is no XHTML"),
    "a script in capitals": ("<SCRIPT>x</SCRIPT>", "holds a tag that can act or is no XHTML"),
    "a frame": ('<iframe src="x">x</iframe>', "holds a tag that can act or is no XHTML"),
    "a form": ("<form>x</form>", "holds a tag that can act or is no XHTML"),
    "a style sheet": ("<style>x</style>", "holds a tag that can act or is no XHTML"),
    "SVG": ('<svg xmlns="http://www.w3.org/2000/svg">x</svg>', "holds a tag that can act or is no XHTML"),
    "an event handler": ('<p onclick="x">x</p>', "holds a script"),
    "an event handler in capitals": ('<p OnLoad="x">x</p>', "holds a script"),
    "a script as an address": ('<a href="javascript:x">x</a>', "holds a script"),
    "a hidden script as an address": ('<a href=" java&#10;script&#9;:x">x</a>', "holds a script"),
    "a page as an address": ('<a href="data:text/html,x">x</a>', "holds a script"),
    "a script in a style": ('<p style="width: expression (x)">x</p>', "holds a script"),
    "an open tag": ("<p>x", "is not well-formed XHTML"),
    "an entity of HTML": ("&nbsp;x", "is not well-formed XHTML"),
    "nothing": ("", "has no content"),
    "nothing but tags": ("<p> </p><!-- c -->", "has no content"),
}
WARNINGS = {
    "a tag beyond the basic set": ("<article>x</article>", "holds a tag beyond the basic set"),
    "a picture from elsewhere": ('<img src="https://example.org/a.png"/>', "fetches something from elsewhere"),
    "a picture from elsewhere by a style": (
        '<p style="background: url(https://example.org/a)">x</p>',
        "fetches something from elsewhere",
    ),
}
ROOTS = {
    "no namespace": ("<div>x</div>", "is not one div in the XHTML namespace"),
    "no div": ('<p xmlns="http://www.w3.org/1999/xhtml">x</p>', "is not one div in the XHTML namespace"),
    "plain text": ("x", "is not well-formed XHTML"),
    "a document type": (
        '<!DOCTYPE div [<!ENTITY e "x">]><div xmlns="http://www.w3.org/1999/xhtml">&e;</div>',
        "holds a document type",
    ),
}


def told(div: str) -> list[tuple[str, str, str]]:
    issues = check({"resourceType": "Patient", "text": {"status": "generated", "div": div}})
    return [(one.severity, one.expression, one.text) for one in issues]


def inside(content: str) -> str:
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{content}</div>'


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_good(content: str) -> None:
    assert told(inside(content)) == []


@pytest.mark.attack(45)
@pytest.mark.parametrize(("content", "text"), ERRORS.values(), ids=ERRORS)
def test_error(content: str, text: str) -> None:
    assert told(inside(content)) == [("error", "Patient.text.div", f"txt-1: {text}")]


@pytest.mark.parametrize(("content", "text"), WARNINGS.values(), ids=WARNINGS)
def test_warning(content: str, text: str) -> None:
    assert told(inside(content)) == [("warning", "Patient.text.div", f"txt-1: {text}")]


@pytest.mark.parametrize(("div", "text"), ROOTS.values(), ids=ROOTS)
def test_root(div: str, text: str) -> None:
    assert told(div) == [("error", "Patient.text.div", f"txt-1: {text}")]


def test_not_even_a_string() -> None:
    assert told("") == [("error", "Patient.text.div", "is empty")]
