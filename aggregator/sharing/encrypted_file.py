"""A shared file as it travels: JWE in compact form, encrypted with the link's key directly, its content compressed.

https://hl7.org/fhir/uv/smart-health-cards-and-links/links-specification.html#encrypting-and-decrypting-files. Each
encryption draws a nonce of its own, also where a file is made again under the same key.
"""

from __future__ import annotations

import zlib

from joserfc import jwe
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWEZipModel
from joserfc.jwk import OctKey

from aggregator.errors import CallerError

FHIR_JSON = "application/fhir+json"
HEALTH_CARD = "application/smart-health-card"
MOST = 20_000_000
"""Bytes of a file, packed or not: what is longer is neither shared nor taken."""

_RAW = -15  # DEFLATE alone, without zlib's frame (RFC 1951)


class Unpackable(ValueError):
    """What was packed is damaged, or unpacks to more than is taken."""


class _Packing(JWEZipModel):
    """DEFLATE within our bound: the library's own unpacks a quarter of a megabyte."""

    name = "DEF"
    description = "DEFLATE"

    def compress(self, s: bytes) -> bytes:
        packing = zlib.compressobj(wbits=_RAW)
        return packing.compress(s) + packing.flush()

    def decompress(self, s: bytes) -> bytes:
        return inflate(s, MOST)


class _Registry(jwe.JWERegistry):
    """One algorithm and one cipher, nothing weaker; room for a whole record."""

    max_ciphertext_length = MOST * 4 // 3 + 4

    def get_zip(self, name: str) -> JWEZipModel:
        if name != _Packing.name:
            raise UnsupportedAlgorithmError(f"the packing {name} is not known")
        return _Packing()


_REGISTRY = _Registry(algorithms=["dir", "A256GCM"])


def encrypt(key: bytes, content: bytes, content_type: str = FHIR_JSON) -> str:
    """The file, for who has the link's key. Raises CallerError where it is too long."""
    if len(content) > MOST:
        raise CallerError(f"this is more than {MOST // 1_000_000} MB: share less of the record")
    protected = {"alg": "dir", "enc": "A256GCM", "cty": content_type, "zip": "DEF"}
    return jwe.encrypt_compact(protected, content, OctKey.import_key(key), registry=_REGISTRY)


def decrypt(key: bytes, text: str) -> tuple[str, bytes]:
    """(content type, content). Raises CallerError for another key, another cipher, or what is not of this form."""
    try:
        found = jwe.decrypt_compact(text, OctKey.import_key(key), registry=_REGISTRY)
        return str(found.headers().get("cty", "")), found.plaintext or b""
    except (JoseError, ValueError, KeyError, TypeError):
        raise CallerError("the shared file does not open with this link's key, or is not of the form") from None


def inflate(packed: bytes, most: int) -> bytes:
    """Unpacked within a bound, and no more of it made than that. Raises Unpackable."""
    unpacking = zlib.decompressobj(_RAW)
    try:
        content = unpacking.decompress(packed, most)
    except zlib.error:
        raise Unpackable("it cannot be unpacked") from None
    if not unpacking.eof or unpacking.unused_data:
        raise Unpackable("it unpacks to more than is taken, or does not end where it should")
    return content
