"""FHIRPath Patch on a resource: a Parameters resource of operations. https://hl7.org/fhir/R4/fhirpatch.html

A path is names, indexes, and the functions of `_FUNCTIONS`, which is what patches in the field use; any other function
is refused by its name. What no operation touches stays as it was, numbers by their text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aggregator.fhir.json_patch import MOST_OPERATIONS, copied
from aggregator.fhir.outcome import BadPatch, PatchFailed
from aggregator.fhir.patch_path import BadPath, Node, find, members
from fhir_profiles.structure import Element
from fhir_profiles.text import Resource

_VALUE = "value"


def patch(resource: Resource, parameters: Resource) -> Resource:
    """The resource after these operations. Raises BadPatch for what is no patch, PatchFailed where it does not fit."""
    made: Resource = copied(resource)
    stated = _objects(parameters.get("parameter"))
    if len(stated) > MOST_OPERATIONS:
        raise BadPatch(f"a patch has at most {MOST_OPERATIONS} operations")
    for number, operation in enumerate(stated):
        parts = {str(part.get("name")): part for part in _objects(operation.get("part"))}
        run = _OPERATIONS.get(str(parts.get("type", {}).get("valueCode")))
        place = f"Parameters.parameter[{number}]"
        if operation.get("name") != "operation" or run is None:
            raise BadPatch.at(place, f"an operation of type {', '.join(_OPERATIONS)} is expected")
        try:
            run(made, parts)
        except BadPath as error:
            raise BadPatch.at(place, str(error)) from None
        except _Unfit as error:
            raise PatchFailed.at(place, str(error)) from None
    return made


class _Unfit(Exception):
    """The operation does not fit what it meets."""


_Parts = Mapping[str, Resource]


def _add(resource: Resource, parts: _Parts) -> None:
    node = _one(resource, parts)
    if not isinstance(node.value, dict):
        raise _Unfit("the path leads to a value that holds nothing")
    _put(node.value, node.type, _text(parts, "name"), _stated(parts))


def _insert(resource: Resource, parts: _Parts) -> None:
    holder, element = _list(resource, parts)
    at = _number(parts, "index")
    if at > len(holder):
        raise _Unfit("the index is beyond the list")
    holder.insert(at, _made(element, _stated(parts)))


def _delete(resource: Resource, parts: _Parts) -> None:
    """Nothing there is nothing to delete."""
    nodes = _found(resource, parts)
    if len(nodes) > 1:
        raise _Unfit("the path leads to more than one element")
    for node in nodes:
        _refuse_whole(node)
        node.remove()


def _replace(resource: Resource, parts: _Parts) -> None:
    node, stated = _one(resource, parts), _stated(parts)
    element = _refuse_whole(node)
    value = _made(element, stated)
    if node.at is not None:
        node.holder[element.name][node.at] = value
    else:
        name = _named(node.owner, element.choice.removesuffix("[x]") or element.name, stated).name
        kept = {name if member == element.name else member: child for member, child in node.holder.items()}
        node.holder.clear()
        node.holder.update(kept | {name: value})


def _move(resource: Resource, parts: _Parts) -> None:
    holder, _ = _list(resource, parts)
    source, target = _number(parts, "source"), _number(parts, "destination")
    if max(source, target) >= len(holder):
        raise _Unfit("source or destination is beyond the list")
    holder.insert(target, holder.pop(source))


_OPERATIONS: Mapping[str, Callable[[Resource, _Parts], None]] = {
    "add": _add,
    "insert": _insert,
    "delete": _delete,
    "replace": _replace,
    "move": _move,
}


# --- what an operation names


def _found(resource: Resource, parts: _Parts) -> Sequence[Node]:
    return find(resource, _text(parts, "path"))


def _one(resource: Resource, parts: _Parts) -> Node:
    nodes = _found(resource, parts)
    if len(nodes) != 1:
        raise _Unfit(f"the path leads to {'more than one element' if nodes else 'no element'}")
    return nodes[0]


def _list(resource: Resource, parts: _Parts) -> tuple[list[Any], Element]:
    """The list whose items the path names."""
    nodes = _found(resource, parts)
    lists = {id(node.holder.get(node.element.name)) for node in nodes if node.element and node.at is not None}
    element = nodes[0].element if nodes else None
    if len(lists) != 1 or element is None:
        raise _Unfit("the path does not lead to the items of one list")
    held: list[Any] = nodes[0].holder[element.name]
    return held, element


def _refuse_whole(node: Node) -> Element:
    if node.element is None:
        raise _Unfit("the path leads to the whole resource")
    return node.element


# --- what an operation brings


def _stated(parts: _Parts) -> Resource:
    if _VALUE not in parts:
        raise BadPath("value is missing")
    return parts[_VALUE]


def _put(holder: dict[str, Any], kind: str, name: str, stated: Resource) -> None:
    """A new element under this name."""
    element = _named(kind, name, stated)
    value = _made(element, stated)
    if element.many:
        holder.setdefault(element.name, []).append(value)
    elif any(one.name in holder for one in members(kind, name)):
        raise _Unfit("the element is there already: replace it")
    else:
        holder[element.name] = value


def _named(kind: str, name: str, stated: Resource) -> Element:
    """The element of this name; of a choice the one that the value's own type picks."""
    found = members(kind, name)
    if len(found) > 1:
        suffix = next((member.removeprefix(_VALUE) for member in stated if member.startswith(_VALUE)), "")
        found = [element for element in found if element.name == name + suffix]
    if not found:
        raise _Unfit("there is no such element there, or none that takes such a value")
    return found[0]


def _made(element: Element, stated: Resource) -> Any:
    """The value itself; of what no value[x] can hold, an object of its parts."""
    parts = _objects(stated.get("part"))
    if parts:
        made: dict[str, Any] = {}
        for part in parts:
            _put(made, element.type, str(part.get("name")), part)
        return made
    values = [value for member, value in stated.items() if member.startswith(_VALUE)]
    if len(values) != 1:
        raise BadPath("one value is needed: value[x], or parts")
    return copied(values[0])


def _objects(value: Any) -> list[Resource]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return []
    return value


def _text(parts: _Parts, name: str) -> str:
    values = [value for member, value in parts.get(name, {}).items() if member.startswith(_VALUE)]
    if len(values) != 1 or not isinstance(values[0], str):
        raise BadPath(f"{name} is missing")
    return values[0]


def _number(parts: _Parts, name: str) -> int:
    value = parts.get(name, {}).get("valueInteger")
    if type(value) is not int or value < 0:
        raise BadPath(f"{name}: an integer from 0 on is needed")
    return value
