"""How every box's plaintext is packed: zstd with a dictionary that belongs to the format (FORMAT.md section 4).

Most boxes are small, and what they say is much the same everywhere: FHIR's member names, code systems and commonest
codes, and what stands beside a body here. `dictionary.ndjson` holds such lines, written for this or taken from the
demo's world, ids left out. It is fixed: with another one nothing that is stored would open.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import zstandard

DICTIONARY_SHA256 = "775df132978d1b742aecaa80fbba99dddc02bc85fafec225294750e613015896"

# Packed once, kept for years: against 3, level 9 takes 7 % off a snapshot; 15 another 3 %, in twenty times 9's time.
KEPT = 9
# Until the next snapshot: a fifth more bytes for an envelope of 100 resources, in a sixth of 9's time.
PASSING = 3


class Unpackable(Exception):
    """No frame of this format, or one that claims more than its reader takes."""


@cache
def _dictionary(level: int) -> zstandard.ZstdCompressionDict:
    data = (Path(__file__).parent / "dictionary.ndjson").read_bytes()
    if hashlib.sha256(data).hexdigest() != DICTIONARY_SHA256:
        raise RuntimeError("aggregator/vault/dictionary.ndjson is not the format's: install the package anew")
    made = zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    made.precompute_compress(level=level)
    return made


def pack(plaintext: bytes, level: int) -> bytes:
    """One zstd frame, which states the size of its content. level: KEPT or PASSING."""
    return zstandard.ZstdCompressor(level=level, dict_data=_dictionary(level)).compress(plaintext)


def unpack(packed: bytes, most: int) -> bytes:
    """The plaintext. Raises Unpackable, before memory is taken where the frame claims more than `most` bytes."""
    try:
        if not 0 <= zstandard.frame_content_size(packed) <= most:
            raise Unpackable
        return zstandard.ZstdDecompressor(dict_data=_dictionary(KEPT)).decompress(packed)
    except zstandard.ZstdError:
        raise Unpackable from None
