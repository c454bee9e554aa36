"""The closed word lists of the phrase splitter (ATSTrack spec section 4.6)."""

from __future__ import annotations

__all__ = [
    "ADJECTIVES",
    "AUXILIARIES",
    "CLOTHING",
    "COLOURS",
    "DETERMINERS",
    "ING_NOUNS",
    "LOCATIONS",
    "PARTICLES",
    "PREPOSITIONS",
    "RELATIVES",
    "VERBS",
    "WEARING",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _prepositions() -> tuple[tuple[str, ...], ...]:
    """Return each as its words, the longest first."""
    sides = ("left", "right", "left side", "right side")
    several = [f"{start} the {side} of" for start in ("on", "to") for side in sides]
    several += ["in the middle of", "in the center of", "at the top of", "at the bottom of", "in front of", "on top of"]
    several += ["next to", "close to", "away from", "out of"]
    return tuple(sorted((tuple(entry.split()) for entry in (*several, *_SINGLE.split())), key=len, reverse=True))


_SINGLE = """
    in on at near behind under above below beside between among amid inside outside over around along across through
    toward towards from into onto by against beneath within beyond before after past
    """
PREPOSITIONS = _prepositions()
"""Each as its words, the longest first."""
DETERMINERS = _words(
    """
    a an the this that these those his her its their my your our some one another each every
    """
)
RELATIVES = _words(
    """
    which who that
    """
)
AUXILIARIES = _words(
    """
    is are was were be being been am has have
    """
)
WEARING = _words(
    """
    wearing wears dressed clad
    """
)
PARTICLES = _words(
    """
    with to for of up down off away forward backward back fast slowly quickly together alone
    """
)
COLOURS = _words(
    """
    black white red green blue yellow orange purple pink brown gray grey silver gold golden beige cyan magenta
    maroon navy violet tan dark light bright colored coloured colorful colourful striped spotted plaid checkered
    dotted patterned transparent blond blonde
    """
)
CLOTHING = _words(
    """
    shirt t-shirt tshirt shirts pants trousers jeans shorts skirt dress coat jacket vest sweater hoodie suit
    uniform hat cap helmet gloves glove shoes shoe boots boot socks scarf tie belt glasses sunglasses mask
    clothes clothing jersey robe gown backpack bag swimsuit bikini
    """
)
ADJECTIVES = _words(
    """
    big small large little tiny huge tall short long thin thick fat slim wide narrow round square flat old young
    new ancient wooden metal plastic glass leather iron stone paper furry fluffy hairy bald shiny dirty clean
    wet dry hot cold fast slow heavy soft hard empty full open closed broken bare strong cute beautiful
    """
)
LOCATIONS = _words(
    """
    left right middle center top bottom front leftmost rightmost nearest farthest first second third fourth
    upper lower
    """
)
ING_NOUNS = _words(
    """
    king ring wing thing string spring ceiling building clothing painting swing sling railing morning evening
    wedding earring lightning pudding bling sting sibling duckling gosling herring darling sterling
    """
)
VERBS = _words(
    """
    runs walks rides drives flies swims stands sits lies jumps plays holds moves dances climbs crosses rolls
    eats drinks hits kicks throws catches carries pulls pushes turns rotates follows chases parked held flown
    thrown hit kicked carried pulled pushed driven ridden ran walked rode drove flew swam stood sat jumped
    played moved danced climbed crossed rolled ate caught hung hanged hanging tied attached placed located
    """
)
