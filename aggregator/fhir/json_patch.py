"""JSON Patch on a resource: https://hl7.org/fhir/R4/http.html#patch, RFC 6902 with the pointers of RFC 6901.

What no operation touches stays as it was, numbers by their text. The resource that is given is not changed: a patch
that fails half way leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aggregator.fhir.outcome import BadPatch, PatchFailed
from fhir_profiles.text import MAX_DEPTH, Number, Resource, depth, dumps

MOST_OPERATIONS = 1000
MOST_COPIED = 1024 * 1024
"""Bytes that the `copy` operations of one patch may make: each can double what is there."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_ESCAPE = re.compile(r"~(?![01])")
_ROOT = ""  # the name under which the document hangs, so that the whole of it has a holder too

Pointer = tuple[str, ...]


def patch(resource: Resource, operations: Any) -> Resource:
    """The resource after these operations. Raises BadPatch for what is no patch, PatchFailed where it does not fit."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise BadPatch("a JSON Patch is a list of operations")
    if len(operations) > MOST_OPERATIONS:
        raise BadPatch(f"a patch has at most {MOST_OPERATIONS} operations")
    document = _Document(resource)
    for number, operation in enumerate(operations):
        document.apply(number, operation)
    return document.resource()


class _Document:
    """The resource while it is patched."""

    def __init__(self, resource: Resource) -> None:
        self._held: dict[str, Any] = {_ROOT: copied(resource)}
        self._copied = 0

    def resource(self) -> Resource:
        """Raises PatchFailed where an operation has put something else in its place."""
        made = self._held.get(_ROOT)
        if not isinstance(made, dict):
            raise PatchFailed("after the patch there is no resource")
        return made

    def apply(self, number: int, operation: Resource) -> None:
        """One operation; its number stands in the error's text."""
        name = operation.get("op")
        run = _OPERATIONS.get(name) if isinstance(name, str) else None
        if run is None:
            raise BadPatch(f"operation {number}: op is one of {', '.join(_OPERATIONS)}")
        try:
            run(self, operation)
        except _Unfit as error:
            raise PatchFailed(f"operation {number}: {error}") from None
        except _Malformed as error:
            raise BadPatch(f"operation {number}: {error}") from None

    def add(self, operation: Resource) -> None:
        self._put(_pointer(operation, "path"), copied(_value(operation)))

    def remove(self, operation: Resource) -> None:
        self._take(_pointer(operation, "path"))

    def replace(self, operation: Resource) -> None:
        """At the same place: a member keeps its turn among the others."""
        path, value = _pointer(operation, "path"), copied(_value(operation))
        self._get(path)
        _refuse_deep(path, value)
        holder = self._get(path[:-1])
        holder[int(path[-1]) if isinstance(holder, list) else path[-1]] = value

    def move(self, operation: Resource) -> None:
        source, target = _pointer(operation, "from"), _pointer(operation, "path")
        if source != target and target[: len(source)] == source:
            raise _Unfit("a value cannot be moved into itself")
        self._put(target, self._take(source))

    def copy(self, operation: Resource) -> None:
        value = self._get(_pointer(operation, "from"))
        self._copied += len(dumps(value))
        if self._copied > MOST_COPIED:
            raise _Unfit(f"a patch copies at most {MOST_COPIED} bytes")
        self._put(_pointer(operation, "path"), copied(value))

    def test(self, operation: Resource) -> None:
        if not same(self._get(_pointer(operation, "path")), _value(operation)):
            raise _Unfit("the test does not hold")

    def _get(self, path: Pointer) -> Any:
        found: Any = self._held
        for token in path:
            found = _child(found, token)
        return found

    def _put(self, path: Pointer, value: Any) -> None:
        _refuse_deep(path, value)
        holder, name = self._get(path[:-1]), path[-1]
        if isinstance(holder, list):
            holder.insert(len(holder) if name == "-" else _index(name, len(holder) + 1), value)
        elif isinstance(holder, dict):
            holder[name] = value
        else:
            raise _Unfit("the path leads into a value that holds nothing")

    def _take(self, path: Pointer) -> Any:
        value, holder = self._get(path), self._get(path[:-1])
        del holder[int(path[-1]) if isinstance(holder, list) else path[-1]]
        return value


_OPERATIONS: Mapping[str, Callable[[_Document, Resource], None]] = {
    "add": _Document.add,
    "remove": _Document.remove,
    "replace": _Document.replace,
    "move": _Document.move,
    "copy": _Document.copy,
    "test": _Document.test,
}


class _Malformed(Exception):
    """The operation is none."""


class _Unfit(Exception):
    """The operation does not fit what it meets."""


def _value(operation: Resource) -> Any:
    if "value" not in operation:
        raise _Malformed("value is missing")
    return operation["value"]


def _pointer(operation: Resource, name: str) -> Pointer:
    """The path from the document's holder on."""
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")) or _ESCAPE.search(text):
        raise _Malformed(f"{name} is not a JSON Pointer")
    return (_ROOT, *(token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]))


def _child(node: Any, token: str) -> Any:
    if isinstance(node, list):
        return node[_index(token, len(node))]
    if isinstance(node, dict) and token in node:
        return node[token]
    raise _Unfit("the path leads nowhere")


def _index(token: str, end: int) -> int:
    if not _INDEX.fullmatch(token) or int(token) >= end:
        raise _Unfit("the path leads beyond a list")
    return int(token)


def _refuse_deep(path: Pointer, value: Any) -> None:
    if len(path) + depth(value) > MAX_DEPTH + 1:
        raise _Unfit("the result is nested too deeply")


def copied(node: Any) -> Any:
    """A copy of all that could be changed in place."""
    if isinstance(node, dict):
        return {name: copied(child) for name, child in node.items()}
    return [copied(child) for child in node] if isinstance(node, list) else node


def same(one: Any, other: Any) -> bool:
    """Equal as RFC 6902 section 4.6 has it: numbers by their value, objects in any order of members."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(child, other[name]) for name, child in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if _is_number(one) and _is_number(other):
        return bool(_decimal(one) == _decimal(other))
    return type(one) is type(other) and bool(one == other)


def _is_number(node: Any) -> bool:
    return type(node) is int or isinstance(node, Number)


def _decimal(node: Any) -> Any:
    return node.decimal() if isinstance(node, Number) else node
