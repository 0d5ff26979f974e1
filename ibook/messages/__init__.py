"""What travels on Kafka: one frozen struct per message, versioned by its tag.

A new field carries a default; a changed meaning gets a new tag. `type` on the wire is the tag. Times are
RFC 3339 with an offset, money is an integer number of minor units.
"""

from ibook.messages.activity import (
    AccountChanged,
    Activity,
    EventViewed,
    LoginAttempted,
    SeatsHeld,
    SeatsReleased,
    TicketActivity,
    TicketsTransferred,
)
from ibook.messages.base import Action, Bin, Category, Currency, Id, Message, Minor, Posture, Seats, Share, Time
from ibook.messages.dead_letters import DeadLetter, DeadLetterRedriven
from ibook.messages.events import CompetitorPrice, CompetitorPrices, EventListed, InventoryChanged, TicketType
from ibook.messages.experiments import ArmEnded, ArmFigures, ExperimentFigures, ExperimentShares, PriceExperiment
from ibook.messages.prices import ArmProbabilities, CurveMoments, PriceControlled, PricePolicy, PricePrior, PriorScope
from ibook.messages.purchases import FraudLabel, Order, PaymentOutcome, PurchaseRequested
from ibook.messages.quotes import (
    ClockTicked,
    JournalEntry,
    PriceReward,
    QuoteIssued,
    QuoteJournal,
    QuoteSold,
    QuoteTakenBack,
)
from ibook.messages.releases import (
    ChallengerReleased,
    ModelReleased,
    ModelReleases,
    ModelReport,
    PolicyConfirmed,
    PolicyReleased,
    PolicyReleases,
    PolicyTakenBack,
    Release,
    ReleaseConfirmed,
    ReleaseTakenBack,
)
from ibook.messages.verdicts import FraudVerdict, ReasonCode, StatePosition, VerdictEvidence

__all__ = [
    "AccountChanged",
    "Action",
    "Activity",
    "ArmEnded",
    "ArmFigures",
    "ArmProbabilities",
    "Bin",
    "Category",
    "ChallengerReleased",
    "ClockTicked",
    "CompetitorPrice",
    "CompetitorPrices",
    "Currency",
    "CurveMoments",
    "DeadLetter",
    "DeadLetterRedriven",
    "EventListed",
    "EventViewed",
    "ExperimentFigures",
    "ExperimentShares",
    "FraudLabel",
    "FraudVerdict",
    "Id",
    "InventoryChanged",
    "JournalEntry",
    "LoginAttempted",
    "Message",
    "Minor",
    "ModelReleased",
    "ModelReleases",
    "ModelReport",
    "Order",
    "PaymentOutcome",
    "PolicyConfirmed",
    "PolicyReleased",
    "PolicyReleases",
    "PolicyTakenBack",
    "Posture",
    "PriceControlled",
    "PriceExperiment",
    "PricePolicy",
    "PricePrior",
    "PriceReward",
    "PriorScope",
    "PurchaseRequested",
    "QuoteIssued",
    "QuoteJournal",
    "QuoteSold",
    "QuoteTakenBack",
    "ReasonCode",
    "Release",
    "ReleaseConfirmed",
    "ReleaseTakenBack",
    "Seats",
    "SeatsHeld",
    "SeatsReleased",
    "Share",
    "StatePosition",
    "TicketActivity",
    "TicketType",
    "TicketsTransferred",
    "Time",
    "VerdictEvidence",
]
