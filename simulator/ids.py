"""Opaque identifiers: keyed hashes, so an id tells nothing about who made it."""

from hashlib import blake2b

AT_ONCE = 6
"""As many ids as one hash has room for: hashing is a good part of what a message costs."""


class Ids:
    """Identifiers of one namespace; the same namespace gives the same ids on any machine.

    >>> Ids("7").of("user", 1) == Ids("7").of("user", 1)
    True
    >>> Ids("7").of("user", 1) == Ids("8").of("user", 1)
    False
    """

    def __init__(self, namespace: str) -> None:
        key = blake2b(namespace.encode(), digest_size=32).digest()
        self._base = blake2b(key=key, digest_size=10)
        self._many = blake2b(key=key, digest_size=10 * AT_ONCE)
        self._ready: list[str] = []
        self._count = 0

    def of(self, *parts: object) -> str:
        """The id of what `parts` name: 20 hexadecimal digits."""
        digest = self._base.copy()
        digest.update("/".join(map(str, parts)).encode())
        return digest.hexdigest()

    def next(self) -> str:
        """An id never given before in this namespace."""
        if not self._ready:
            self._count += 1
            digest = self._many.copy()
            digest.update(self._count.to_bytes(8, "big"))
            digits = digest.hexdigest()
            self._ready = [digits[at : at + 20] for at in range(0, 20 * AT_ONCE, 20)]
        return self._ready.pop()
