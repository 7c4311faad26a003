"""JSON Patch: RFC 6902's own examples, random patches beside a reference, and what no operation touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fhir.json_patch import MOST_COPIED, MOST_OPERATIONS, patch
from aggregator.fhir.outcome import BadPatch, PatchFailed
from fhir_profiles.text import dumps, loads
from tests.weaken import weakens

EXAMPLES = {
    "A.1 a member": ('{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"foo":"bar","baz":"qux"}'),
    "A.2 an element": (
        '{"foo":["bar","baz"]}',
        '[{"op":"add","path":"/foo/1","value":"qux"}]',
        '{"foo":["bar","qux","baz"]}',
    ),
    "A.3 remove a member": ('{"baz":"qux","foo":"bar"}', '[{"op":"remove","path":"/baz"}]', '{"foo":"bar"}'),
    "A.4 remove an element": ('{"foo":["a","b","c"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["a","c"]}'),
    "A.5 replace": (
        '{"baz":"qux","foo":"bar"}',
        '[{"op":"replace","path":"/baz","value":"boo"}]',
        '{"baz":"boo","foo":"bar"}',
    ),
    "A.6 move a value": (
        '{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}',
        '[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]',
        '{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}',
    ),
    "A.7 move an element": (
        '{"foo":["all","grass","cows","eat"]}',
        '[{"op":"move","from":"/foo/1","path":"/foo/3"}]',
        '{"foo":["all","cows","eat","grass"]}',
    ),
    "A.8 tests that hold": (
        '{"baz":"qux","foo":["a",2,"c"]}',
        '[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2.0}]',
        '{"baz":"qux","foo":["a",2,"c"]}',
    ),
    "A.10 a nested object": (
        '{"foo":"bar"}',
        '[{"op":"add","path":"/child","value":{"grandchild":{}}}]',
        '{"foo":"bar","child":{"grandchild":{}}}',
    ),
    "A.11 an unknown member": ('{"a":1}', '[{"op":"add","path":"/b","value":1,"xyz":1}]', '{"a":1,"b":1}'),
    "A.14 escapes": ('{"/":9,"~1":10}', '[{"op":"test","path":"/~01","value":10}]', '{"/":9,"~1":10}'),
    "A.16 an array at the end": (
        '{"foo":["bar"]}',
        '[{"op":"add","path":"/foo/-","value":["abc","def"]}]',
        '{"foo":["bar",["abc","def"]]}',
    ),
    "a copy": ('{"a":{"b":0.40}}', '[{"op":"copy","from":"/a","path":"/c"}]', '{"a":{"b":0.40},"c":{"b":0.40}}'),
    "the whole": ('{"a":1}', '[{"op":"replace","path":"","value":{"b":2}}]', '{"b":2}'),
}

UNFIT = {
    "A.9 a test": '[{"op":"test","path":"/foo","value":"bar"}]',
    "A.12 a target that is not there": '[{"op":"add","path":"/baz/bat","value":"qux"}]',
    "A.15 text and number": '[{"op":"test","path":"/n","value":"10"}]',
    "true is not one": '[{"op":"test","path":"/one","value":true}]',
    "remove what is not there": '[{"op":"remove","path":"/baz"}]',
    "replace what is not there": '[{"op":"replace","path":"/baz","value":1}]',
    "beyond the list": '[{"op":"add","path":"/list/3","value":1}]',
    "an index with a zero": '[{"op":"remove","path":"/list/01"}]',
    "behind the end": '[{"op":"remove","path":"/list/-"}]',
    "into itself": '[{"op":"move","from":"/foo","path":"/foo/a"}]',
    "into a text": '[{"op":"add","path":"/n/a","value":1}]',
    "nothing is left": '[{"op":"remove","path":""}]',
    "not an object": '[{"op":"replace","path":"","value":[1]}]',
}

MALFORMED = {
    "no list": '{"op":"remove","path":"/a"}',
    "no objects": '["remove"]',
    "no op": '[{"path":"/a"}]',
    "another op": '[{"op":"rename","path":"/a"}]',
    "op is no text": '[{"op":["add"],"path":"/a"}]',
    "no path": '[{"op":"remove"}]',
    "a path without a slash": '[{"op":"remove","path":"a"}]',
    "a wrong escape": '[{"op":"remove","path":"/~2"}]',
    "no value": '[{"op":"add","path":"/a"}]',
    "no from": '[{"op":"move","path":"/a"}]',
}


@pytest.mark.parametrize(("before", "operations", "after"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_standards_examples(before: str, operations: str, after: str) -> None:
    assert dumps(patch(loads(before), loads(operations))).decode() == after


@pytest.mark.parametrize("operations", UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_fails_whole(operations: str) -> None:
    document = loads('{"foo":{"a":0.40},"n":10,"one":1,"list":[1,2]}')
    before = dumps(document)
    with pytest.raises(PatchFailed, match=r"^(operation \d|after the patch)"):
        patch(document, [{"op": "add", "path": "/first", "value": 1}, *loads(operations)])
    assert dumps(document) == before


@pytest.mark.parametrize("operations", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_patch_is_told(operations: str) -> None:
    with pytest.raises(BadPatch) as raised:
        patch(loads('{"a":1}'), loads(operations))
    assert raised.value.status == 400


@pytest.mark.attack(46)
@weakens("aggregator.fhir.json_patch", "MOST_COPIED", 2**60)
def test_copies_cannot_double_until_memory_is_full() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 15
    grown = {"a": ["x" * (MOST_COPIED // 1000)]}
    with pytest.raises(PatchFailed, match="copies at most"):
        patch(grown, doubling)


@pytest.mark.attack(46)
def test_a_patch_is_bounded() -> None:
    test = {"op": "test", "path": "/a", "value": 1}
    assert patch({"a": 1}, [test] * MOST_OPERATIONS) == {"a": 1}
    with pytest.raises(BadPatch, match="at most"):
        patch({"a": 1}, [test] * (MOST_OPERATIONS + 1))
    deeper = [{"op": "add", "path": "/a" * level, "value": {}} for level in range(1, 100)]
    with pytest.raises(PatchFailed, match="deeply"):
        patch({}, deeper)
    moved = [{"op": "add", "path": "/b", "value": {}}, {"op": "move", "from": "/a", "path": "/b/a"}]
    moved += [{"op": "move", "from": "/b", "path": "/a"}]
    with pytest.raises(PatchFailed, match="deeply"):
        patch({"a": {}}, moved * 100)


# --- beside a reference that changes nothing in place

NAMES = st.sampled_from(["a", "b", "~", "/", "0"])
LEAVES = st.sampled_from([loads(text) for text in ("1", "1.0", "0.40", "-0", "1e2", '"x"', "true", "null")])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
TOKENS = st.sampled_from(["a", "b", "~0", "~1", "0", "1", "2", "-"])
PATHS = st.lists(TOKENS, max_size=3).map(lambda tokens: "".join(f"/{token}" for token in tokens))
OPERATIONS = st.one_of(
    st.fixed_dictionaries({"op": st.sampled_from(["add", "replace", "test"]), "path": PATHS, "value": VALUES}),
    st.fixed_dictionaries({"op": st.just("remove"), "path": PATHS}),
    st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": PATHS, "from": PATHS}),
)


class Unfit(Exception):
    """The reference's refusal."""


def tokens(path: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def index(token: str, size: int) -> int:
    if not (token == "0" or (token.isdigit() and token[0] != "0")) or int(token) >= size:
        raise Unfit
    return int(token)


def at(node: Any, path: list[str]) -> Any:
    if not path:
        return node
    if isinstance(node, list):
        return at(node[index(path[0], len(node))], path[1:])
    if isinstance(node, dict) and path[0] in node:
        return at(node[path[0]], path[1:])
    raise Unfit


def changed(node: Any, path: list[str], new: list[Any], *, insert: bool) -> Any:
    """The node with what lies at the path replaced by none or one value, or with one put before it."""
    if not path:
        return new[0] if new else None
    head, rest = path[0], path[1:]
    if isinstance(node, list):
        place = len(node) if insert and not rest and head == "-" else index(head, len(node) + (insert and not rest))
        if rest:
            return [*node[:place], changed(node[place], rest, new, insert=insert), *node[place + 1 :]]
        return [*node[:place], *new, *node[place + (not insert) :]]
    if not isinstance(node, dict) or (head not in node and (rest or not insert)):
        raise Unfit
    if rest:
        return {
            name: changed(child, rest, new, insert=insert) if name == head else child for name, child in node.items()
        }
    if not new:
        return {name: child for name, child in node.items() if name != head}
    return node | {head: new[0]}


def equal(one: Any, other: Any) -> bool:
    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: plain(child) for name, child in node.items()}
        if isinstance(node, list):
            return [plain(child) for child in node]
        return (type(node).__name__, node) if isinstance(node, bool | str | None) else ("number", float(dumps(node)))

    return bool(plain(one) == plain(other))


def reference(document: Any, operation: dict[str, Any]) -> Any:
    path, name = tokens(operation["path"]), operation["op"]
    if name == "test":
        if not equal(at(document, path), operation["value"]):
            raise Unfit
        return document
    if name == "add":
        return changed(document, path, [operation["value"]], insert=True)
    if name in ("remove", "replace"):
        at(document, path)
        return changed(document, path, [operation["value"]] if name == "replace" else [], insert=False)
    source = tokens(operation["from"])
    value = at(document, source)
    if name == "move":
        if path != source and path[: len(source)] == source:
            raise Unfit
        document = changed(document, source, [], insert=False)
    return changed(document, path, [value], insert=True)


@given(DOCUMENTS, st.lists(OPERATIONS, max_size=4))
def test_a_patch_does_what_the_reference_does(document: dict[str, Any], operations: list[dict[str, Any]]) -> None:
    before, expected = dumps(document), document
    try:
        for operation in operations:
            expected = reference(expected, operation)
        if not isinstance(expected, dict):
            raise Unfit
    except Unfit:
        with pytest.raises(PatchFailed):
            patch(document, operations)
    else:
        assert dumps(patch(document, operations)) == dumps(expected)
    assert dumps(document) == before
