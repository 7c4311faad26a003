"""One AES-GCM ciphertext that two keys open: GCM does not commit to its key. https://eprint.iacr.org/2019/016

The tag is a polynomial in the ciphertext blocks, over a field, at a point that each key has of its own. One block left
free makes the two keys' tags equal: a linear equation.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

_BLOCK = 16
_REDUCTION = 0xE1 << 120


def collide(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes, first: bytes) -> bytes:
    """`ciphertext || tag` for both keys. first: whole blocks of the ciphertext, one more is added."""
    length = len(first) + _BLOCK
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * length).to_bytes(8, "big")
    blocks = [*_blocks(aad), *_blocks(first), 0, int.from_bytes(lengths, "big")]
    points = [_block(_encrypt(key, bytes(_BLOCK))) for key in keys]
    masks = [_block(_encrypt(key, nonce + (1).to_bytes(4, "big"))) for key in keys]
    open_tags = [_polynomial(blocks, point) ^ mask for point, mask in zip(points, masks, strict=True)]
    squares = [_multiply(point, point) for point in points]  # the free block is the last but one
    free = _multiply(open_tags[0] ^ open_tags[1], _inverse(squares[0] ^ squares[1]))
    tag = open_tags[0] ^ _multiply(free, squares[0])
    return first + free.to_bytes(_BLOCK, "big") + tag.to_bytes(_BLOCK, "big")


def _polynomial(blocks: list[int], point: int) -> int:
    value = 0
    for block in blocks:
        value = _multiply(value ^ block, point)
    return value


def _multiply(left: int, right: int) -> int:
    """In GCM's field, whose bits are numbered from the left."""
    product = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (_REDUCTION if right & 1 else 0)
    return product


def _inverse(value: int) -> int:
    """value ** (2 ** 128 - 2)."""
    result = 1 << 127  # one
    for _ in range(127):
        value = _multiply(value, value)
        result = _multiply(result, value)
    return result


def _blocks(data: bytes) -> list[int]:
    return [_block(data[at : at + _BLOCK].ljust(_BLOCK, b"\0")) for at in range(0, len(data), _BLOCK)]


def _block(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _encrypt(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()
