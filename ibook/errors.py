"""Every error we raise on purpose. Each says what happened and what the caller does next."""


class IbookError(Exception):
    """Base of the errors below; anything else that escapes is a bug."""


class ConfigurationError(IbookError):
    """A setting or the machine is wrong: stop at start with this one sentence."""


class InvalidMessage(IbookError):
    """A payload that can't be read: dead-letter it with its source position and `reason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """One of a few words, used as a metric label: `oversize`, `malformed`, `invalid`, `future`, `conflict`,
        or what a quote was refused for."""
        self.detail = detail


class OwnCodeFails(IbookError):
    """Our own code fails on one message after another: stop, acknowledge nothing, go back to the version before."""


class NothingKnown(IbookError):
    """No log tells of what was asked for: look at the id again."""


class BrokerUnavailable(IbookError):
    """Kafka did not answer in time: wait and try again, nothing was decided."""


class FeatureUnavailable(IbookError):
    """The online store can't be read in time: score without features, posture `no_features`."""


class ModelUnavailable(IbookError):
    """No model can be loaded: decide by rules, posture `rules_only`."""


class QuoteRefused(IbookError):
    """A quote that can't be honoured; `reason` is `expired`, `forged`, `other_event`, `unknown` (key) or `used`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"quote refused: {reason}")
        self.reason = reason
