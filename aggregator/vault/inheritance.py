"""What an imported vault keeps of the one before it, at rest under the new owner key (FORMAT.md section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aggregator.errors import Tampered
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.keys import Inherited, Root
from aggregator.vault.seal import KEY_BYTES, header, unwrap, wrap
from aggregator.vault.tables import Vault


def members(inherited: Inherited) -> dict[str, Any]:
    """As JSON holds it, here and in an export."""
    content = {source: b64(key) for source, key in inherited.content.items()}
    audit = [b64(seed) for seed in inherited.audit]
    return {"ids": b64(inherited.ids), "tag": b64(inherited.tag), "content": content, "audit": audit}


def read_members(told: Mapping[str, Any]) -> Inherited:
    """The inverse. Raises ValueError, KeyError, TypeError, AttributeError for what is none."""
    content = {bytes.fromhex(source).hex(): unb64(key) for source, key in told["content"].items()}
    if not isinstance(told["audit"], list):
        raise TypeError("a list of keys is something else")
    made = Inherited(unb64(told["ids"]), unb64(told["tag"]), content, tuple(map(unb64, told["audit"])))
    if any(len(key) != KEY_BYTES for key in (made.ids, made.tag, *made.content.values(), *made.audit)):
        raise ValueError("a key has another length")
    return made


def seal(root: Root, vault: str) -> bytes:
    """The column of the vault's row; empty for one that inherited nothing."""
    if root.inherited is None:
        return b""
    return wrap(root.owner_key(), _header(vault), canonical(members(root.inherited)))


def heir(root: Root, row: Vault) -> Root:
    """The root with what its vault has inherited. Raises Tampered."""
    if not row.inherited:
        return root
    told = unwrap(root.owner_key(), _header(row.id), row.inherited)
    try:
        return root.heir(read_members(orjson.loads(told)))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Tampered("what a vault has inherited cannot be read") from None


def _header(vault: str) -> dict[str, Any]:
    return header("inherited", vault)
