"""What is too long to lie in a resource: an Attachment's data, or a Binary's own, goes to a blob.

The Attachment then points to a Binary of the vault, which lies in the same section and is decided on as its parent
(https://hl7.org/fhir/R4/binary.html, securityContext). Pure: what is uploaded is told, not done.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from fhir_profiles.attachments import attachments
from fhir_profiles.text import Resource, dumps

LONGEST = 16 * 1024
"""Characters of base64 that may lie in a resource."""

_PIECE = 64 * 1024  # characters decoded at a time: whole groups of four
_UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Attached:
    """A Binary taken out of its parent, ready for the vault but for version and time. data: base64 as it came."""

    local: str
    resource: Resource
    data: str

    def content(self) -> bytes:
        """What a ledger's tag is made of."""
        kept = {name: value for name, value in self.resource.items() if name != "meta"}
        labels = self.resource["meta"].get("security")
        return dumps([kept, labels]) + b"\n" + self.data.encode()


def take_out(resource: Resource, vault: str, local_of: Callable[[int], str]) -> tuple[Attached, ...]:
    """Replace the long data in the resource's Attachments by the URLs of Binaries; they are numbered from 0.

    local_of: the local id of the n-th. An Attachment that says where it lies elsewhere, too, is left as it came.
    """
    made = list[Attached]()
    for attachment in attachments(resource):
        data = attachment.get("data")
        if is_long(data) and "url" not in attachment:
            local = local_of(len(made))
            made.append(Attached(local, _binary(resource, attachment, f"{vault}.{local}"), data))
            _point(attachment, f"Binary/{vault}.{local}", data)
    return tuple(made)


def take_own(resource: Resource) -> str | None:
    """A Binary's own data, taken out where it is long."""
    if resource["resourceType"] != "Binary" or not is_long(resource.get("data")):
        return None
    return str(resource.pop("data"))


def is_long(data: Any) -> TypeGuard[str]:
    """Too long to lie in a resource."""
    return isinstance(data, str) and len(data) > LONGEST


def decoded(data: str) -> Iterator[bytes]:
    """The bytes of base64 that was checked, in pieces. It may hold white space."""
    tight = "".join(data.split())
    for at in range(0, len(tight), _PIECE):
        yield base64.b64decode(tight[at : at + _PIECE])


def _binary(parent: Resource, attachment: dict[str, Any], whole_id: str) -> Resource:
    meta = {"versionId": "", "lastUpdated": ""}
    meta |= {name: parent["meta"][name] for name in ("security", "source") if name in parent["meta"]}
    return {
        "resourceType": "Binary",
        "id": whole_id,
        "meta": meta,
        "contentType": attachment.get("contentType", _UNKNOWN),
        "securityContext": {"reference": f"{parent['resourceType']}/{parent['id']}"},
    }


def _point(attachment: dict[str, Any], url: str, data: str) -> None:
    """The url and the size stand where the data stood: people read the members in that order."""
    told = dict(attachment)
    attachment.clear()
    for name, value in told.items():
        if name == "data":
            attachment["url"] = url
            attachment.setdefault("size", told.get("size", _size(data)))
        else:
            attachment[name] = value


def _size(data: str) -> int:
    tight = "".join(data.split())
    return len(tight) // 4 * 3 - tight[-2:].count("=")
