"""Ids that are computed, so that a redelivery computes the same ones."""

from hashlib import sha256


def frame(*parts: str) -> bytes:
    """Several texts as bytes that no other texts give: each is preceded by its length.

    >>> frame("ab", "c") == frame("a", "bc")
    False
    """
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def message_id(*parts: str) -> str:
    """A `message_id` of 32 characters that the same parts always give.

    >>> message_id("quote-1", "sold", "t-7")
    'bdc172bd55c957dc3889c7af1f6c2c95'
    """
    return sha256(frame(*parts)).hexdigest()[:32]
