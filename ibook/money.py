"""Amounts as people write them."""

_DIGITS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}  # fmt: skip
"""Decimal digits of the currencies that do not have two (ISO 4217)."""


def amount(minor: int, currency: str) -> str:
    """An amount in minor units, without its currency.

    >>> amount(123450, "EUR"), amount(11800, "JPY")
    ('1,234.50', '11,800')
    """
    digits = _DIGITS.get(currency, 2)
    return f"{minor / 10**digits:,.{digits}f}"


def money(minor: int, currency: str) -> str:
    """An amount in minor units, with its currency.

    >>> money(11800, "EUR"), money(11800, "KWD")
    ('118.00 EUR', '11.800 KWD')
    """
    return f"{amount(minor, currency)} {currency}"
