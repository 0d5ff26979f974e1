"""Which model and which verdict policy decide: topics `model-releases`, `model-reports`, `policy-releases`."""

from typing import Annotated, Literal

from msgspec import Meta

from ibook.messages.base import Id, Message, Share


class Release(Message, frozen=True, kw_only=True):
    """An artefact is to be run. Topic `model-releases`, key `model`, kept forever: the model's timeline."""

    model: Id
    version: Id
    artefact: str
    """Path relative to the model store, or a URI."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    feature_names_hash: str
    released_by: str = ""
    why: str = ""
    guarded: bool = True
    """Whether workers take it back by themselves when its guard figures break."""


class ModelReleased(Release, frozen=True, kw_only=True, tag="model_released.v1"):
    """From now on this artefact decides: the champion."""


class ChallengerReleased(Release, frozen=True, kw_only=True, tag="challenger_released.v1"):
    """From now on this artefact scores beside the champion; the challenger before it is withdrawn."""

    share: Share = 0.0
    """It decides for this share of the cards; 0 is a shadow, which decides for none."""


class ReleaseTakenBack(Message, frozen=True, kw_only=True, tag="release_taken_back.v1"):
    """A release counts no more: what counted before it decides again. Said twice, it changes nothing more."""

    model: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    """Who took it back; `guard` is a worker that found its figures broken."""
    why: str = ""


class ReleaseConfirmed(Message, frozen=True, kw_only=True, tag="release_confirmed.v1"):
    """A new champion has proved itself: no process compares it with the one before it any more."""

    model: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    """Who found it good; `guard` is a worker whose figures stayed within their bounds."""
    why: str = ""


ModelReleases = ModelReleased | ChallengerReleased | ReleaseTakenBack | ReleaseConfirmed


class ModelReport(Message, frozen=True, kw_only=True, tag="model_report.v1"):
    """What one process runs. Topic `model-reports`, key `process`; told at every change and every few seconds."""

    process: Id
    model: Id
    champion: str
    """Version that decides; `none` when there is none."""
    challenger: str = ""
    """Version that scores beside it."""
    releases: int = 0
    """How many messages of `model-releases` it has taken note of."""
    refused: str = ""
    """Why the newest release was not loaded, when it was not."""
    policy: str = ""
    """Version of the verdict policy that decides; empty where none is followed."""
    policies: int = 0
    """How many messages of `policy-releases` it has taken note of."""
    policy_refused: str = ""
    """Why the newest policy that was released and not taken back does not decide, when it does not."""
    policy_from: Literal["", "released", "packaged", "kept", "unread"] = ""
    """Where it comes from; `kept` (in the data folder) or `unread` (packaged) while no release was found."""


class PolicyReleased(Message, frozen=True, kw_only=True, tag="policy_released.v1"):
    """From now on this verdict policy decides. Topic `policy-releases`, key `policy`, kept forever: its timeline."""

    policy: Id
    version: Id
    """As evidence names it: the file's version and the hash of its text."""
    text: str
    """The whole policy, as TOML."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of the text, as UTF-8."""
    released_by: str = ""
    why: str = ""
    guarded: bool = False
    """Whether workers take it back by themselves when it approves many more than the policy before it, or fewer."""


class PolicyTakenBack(Message, frozen=True, kw_only=True, tag="policy_taken_back.v1"):
    """A policy counts no more: the one before it decides again. Said twice, it changes nothing more."""

    policy: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    """Who took it back; `guard` is a worker."""
    why: str = ""


class PolicyConfirmed(Message, frozen=True, kw_only=True, tag="policy_confirmed.v1"):
    """A new policy has proved itself: no process compares it with the one before it any more."""

    policy: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    why: str = ""


PolicyReleases = PolicyReleased | PolicyTakenBack | PolicyConfirmed
