"""Who buys: households with users, cards, devices and the addresses they come from."""

from dataclasses import dataclass, replace
from random import Random

from simulator.attention import DAY_US
from simulator.demand import Segment
from simulator.draws import Weighted
from simulator.ids import Ids

COUNTRIES = Weighted(
    [("DE", 62.0), ("AT", 9.0), ("CH", 6.0), ("NL", 6.0), ("FR", 5.0), ("PL", 4.0), ("GB", 4.0), ("IT", 2.0),
     ("US", 2.0)]
)  # fmt: skip
"""Where buyers live."""
DOMAINS = Weighted(
    [("gmail.com", 34.0), ("gmx.de", 16.0), ("web.de", 13.0), ("outlook.com", 10.0), ("icloud.com", 7.0),
     ("yahoo.com", 6.0), ("t-online.de", 5.0), ("proton.me", 3.0), ("freenet.de", 2.0), ("mail.com", 2.0),
     ("posteo.de", 1.0), ("uni-mail.de", 1.0)]
)  # fmt: skip
HOUSEHOLD_SIZES = Weighted([(1, 45.0), (2, 30.0), (3, 13.0), (4, 12.0)])
CARDS_EACH = Weighted([(1, 60.0), (2, 30.0), (3, 10.0)])
SEGMENTS_OF: tuple[Weighted[Segment], Weighted[Segment]] = (
    Weighted([("fans", 50.0), ("families", 10.0), ("tourists", 20.0), ("bargain_hunters", 20.0)]),
    Weighted([("fans", 25.0), ("families", 55.0), ("tourists", 5.0), ("bargain_hunters", 15.0)]),
)
"""What a household of one or two, and a larger one, goes out for. Assumed."""
CALL_OFF = 0.02
"""Share of the households that give tickets back far more often than others. Assumed."""
N_BINS = 150
N_OFFICES = 300
N_CARRIER_ADDRESSES = 2_500


@dataclass(frozen=True, slots=True)
class Card:
    """A payment card; `bin` is its first six digits."""

    card_id: str
    bin: str
    country: str


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address and the country it is registered in."""

    ip: str
    country: str


@dataclass(frozen=True, slots=True)
class User:
    """An account with what its owner pays with and sits at."""

    user_id: str
    cards: tuple[Card, ...]
    device_id: str
    email_domain: str
    opened_us: int
    office: Address | None


@dataclass(frozen=True, slots=True)
class Household:
    """People who live behind one address; `shared_device` is the family's tablet or computer."""

    users: tuple[User, ...]
    home: Address
    country: str
    shared_device: str | None
    segment: Segment
    opened_us: int
    """When the youngest of its accounts was opened."""
    calls_off: bool
    """Whether something always comes between, so that they give tickets back."""


class People:
    """Draws people; what is asked for by number is the same whenever it is asked."""

    def __init__(self, ids: Ids, seed: int, today_us: int) -> None:
        self._ids = ids
        self._seed = seed
        self._today_us = today_us
        self._cache: dict[int, Household] = {}
        self._offices: dict[int, Address] = {}
        rng = Random(f"{seed}/issuers")
        numbers = rng.sample(range(400_000, 560_000), N_BINS)
        self.bins = tuple((str(number), COUNTRIES.draw(rng)) for number in numbers)
        """Issuers: first six digits and country."""
        self._issuers = {
            country: [number for number, at in self.bins if at == country] or [self.bins[0][0]]
            for country in COUNTRIES.choices
        }
        self._prefixes = {country: rng.sample(range(24, 195), 6) for country in COUNTRIES.choices}

    def household(self, number: int) -> Household:
        """The household of this number."""
        found = self._cache.get(number)
        if found is None:
            found = self._cache[number] = self._draw(number, Random(f"{self._seed}/household/{number}"))
        return found

    def address(self, rng: Random, country: str) -> Address:
        """Any address of a country."""
        first = rng.choice(self._prefixes[country])
        bits = rng.getrandbits(24)
        return Address(f"{first}.{bits >> 16}.{bits >> 8 & 255}.{bits % 254 + 1}", country)

    def office(self, number: int) -> Address:
        """The address that all colleagues of an office share."""
        found = self._offices.get(number)
        if found is None:
            rng = Random(f"{self._seed}/office/{number}")
            found = self._offices[number] = self.address(rng, COUNTRIES.draw(rng))
        return found

    def carrier(self, country: str, number: int) -> Address:
        """The address a mobile carrier gives to many phones at once."""
        return self.address(Random(f"{self._seed}/carrier/{country}/{number}"), country)

    def newcomer(self, rng: Random, key: str, opened_us: int) -> Household:
        """Somebody who never bought before, alone in a household; `key` names them."""
        country = COUNTRIES.draw(rng)
        home = self.address(rng, country)
        user = self._user(rng, country, f"new/{key}", n_cards=1)
        user = replace(user, opened_us=opened_us, office=None)
        return Household((user,), home, country, None, SEGMENTS_OF[0].draw(rng), opened_us, False)

    def card(self, rng: Random, country: str, key: str, number: str | None = None) -> Card:
        """A card of a country's issuer, or of the issuer `number`; `key` names it."""
        return Card(self._ids.of("card", key), number or rng.choice(self._issuers[country]), country)

    def device(self, key: str) -> str:
        """The device named by `key`."""
        return self._ids.of("device", key)

    def _draw(self, number: int, rng: Random) -> Household:
        country = COUNTRIES.draw(rng)
        size = HOUSEHOLD_SIZES.draw(rng)
        users = [self._user(rng, country, f"{number}/{member}", n_cards=None) for member in range(size)]
        if size > 1 and rng.random() < 0.3:  # a partner's card in both wallets
            users[1] = replace(users[1], cards=(*users[1].cards, users[0].cards[0]))
        shared = self.device(f"home/{number}") if size > 1 and rng.random() < 0.6 else None
        return Household(
            tuple(users), self.address(rng, country), country, shared, SEGMENTS_OF[size > 2].draw(rng),
            max(user.opened_us for user in users), rng.random() < CALL_OFF,
        )  # fmt: skip

    def _user(self, rng: Random, country: str, key: str, n_cards: int | None) -> User:
        n = n_cards or CARDS_EACH.draw(rng)
        abroad = rng.random() < 0.04
        cards = tuple(
            self.card(rng, COUNTRIES.draw(rng) if abroad else country, f"{key}/{index}") for index in range(n)
        )
        recent = rng.random() < 0.2
        days = rng.uniform(0.5, 60) if recent else rng.uniform(60, 2200)
        return User(
            user_id=self._ids.of("user", key), cards=cards, device_id=self.device(key),
            email_domain=DOMAINS.draw(rng), opened_us=self._today_us - int(days * DAY_US),
            office=self.office(rng.randrange(N_OFFICES)) if rng.random() < 0.2 else None,
        )  # fmt: skip
