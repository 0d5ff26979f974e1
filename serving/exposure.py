"""What must be true before others can reach the API."""

from ipaddress import ip_address

from ibook.errors import ConfigurationError
from ibook.settings import DEVELOPMENT_SECRET, Settings

MIN_SECRET = 32
MIN_DIFFERENT = 10
"""Characters that differ in a secret: random ones of that length have more."""


def check_exposure(settings: Settings) -> None:
    """Raises ConfigurationError when others could reach an API that is open to all, or whose quotes can be forged."""
    host = settings.serving_host
    if is_loopback(host):
        return
    secrets = [settings.quote_secret, *settings.quote_old_secrets]
    for name, secret in zip(["IBOOK_QUOTE_SECRET", *["IBOOK_QUOTE_OLD_SECRETS"] * len(secrets)], secrets, strict=False):
        if _is_weak(secret.get_secret_value()):
            raise ConfigurationError(
                f"Set {name} to {MIN_SECRET} random characters or more before the price API listens on {host}."
            )
    if settings.api_keys_file is None:
        raise ConfigurationError(
            f"Set IBOOK_API_KEYS_FILE to a file of keys (`ibook keys new` makes them) before the price API listens on "
            f"{host}."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_weak(secret: str) -> bool:
    return len(secret) < MIN_SECRET or len(set(secret)) < MIN_DIFFERENT or DEVELOPMENT_SECRET in secret
