"""Where events take place. Names are made up; sizes are those of halls, theatres and stadiums as they are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Venue:
    """A place with so many seats, and what is played there."""

    name: str
    seats: int
    categories: tuple[str, ...]


VENUES = (
    Venue("Harbour Stadium", 42_000, ("sports", "concerts")),
    Venue("Westpark Stadium", 31_000, ("sports",)),
    Venue("Velodrome", 9_500, ("sports", "concerts")),
    Venue("Ice Palace", 11_000, ("sports", "family")),
    Venue("City Arena", 16_000, ("sports", "concerts", "family")),
    Venue("Expo Hall 4", 12_500, ("concerts", "family")),
    Venue("Open Air Meadow", 22_000, ("concerts",)),
    Venue("Gasworks", 6_500, ("concerts", "cultural")),
    Venue("Old Brewery", 5_200, ("concerts",)),
    Venue("Big Top", 4_800, ("family",)),
    Venue("Zoo Amphitheatre", 5_500, ("family", "cultural")),
    Venue("Congress Hall", 7_200, ("family", "cultural", "concerts")),
    Venue("Philharmonic Hall", 4_400, ("cultural",)),
    Venue("State Opera", 3_600, ("cultural",)),
    Venue("Castle Court", 5_800, ("cultural",)),
    Venue("Museum Quarter", 6_400, ("cultural", "family")),
)
