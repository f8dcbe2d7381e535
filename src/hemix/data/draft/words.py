"""What a column's name suggests. Names are hints only: the data must agree before a guess is made."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


USER_WORDS = _words(
    "user member customer client visitor account uid person subscriber viewer reader buyer shopper player "
    "guest passenger rider student patient cookie device"
)
ITEM_WORDS = _words(
    "item movie film product article sku video song track ad advert creative campaign banner poi venue "
    "book news content listing property hotel restaurant doc document app asin isbn course recipe game "
    "post offer place shop store merchant photo image show episode job dish goods iid pid"
)
OTHER_KEYS = _words("transaction order session category brand region city page group impression request query event")
KEY_WORDS = USER_WORDS | ITEM_WORDS | OTHER_KEYS
ID_WORDS = _words("id ids key no nr num number code hash uuid guid ref")
LABEL_WORDS = _words(
    "label target y click clicked clk like liked conversion converted convert purchase purchased bought "
    "buy order ordered response responded install installed subscribe subscribed booked watched played "
    "finished completed sold tapped opened accepted favorite favourite saved"
)
RATING_WORDS = _words("rating rate stars star score grade mark")
ACTION_WORDS = _words("action event behavior behaviour interaction activity verb type")
TARGET_ACTIONS = ("click", "clicked", "buy", "purchase", "order", "transaction", "like", "play", "addtocart", "cart")
LATER_WORDS = _words(
    "dwell duration watchtime playtime watched seconds rating review feedback revenue gmv sales paid "
    "spent spend amount delivered returned refund bounce bounced cart basket outcome result completed "
    "converted conversion"
)
TIME_WORDS = _words("time timestamp ts date datetime day when at created occurred utc")
PAIR_WORDS = _words("price position pos rank slot distance discount bid score relevance match")
POSITION_WORDS = _words("position pos rank slot")
REQUEST_WORDS = _words("impression request query search slate")
SNAPSHOT_WORDS = _words("last latest updated modified recent")
LATITUDES = _words("lat latitude")
LONGITUDES = _words("lon lng long longitude")


def tokens(name: str) -> list[str]:
    """Lower-case parts of a name.

    >>> tokens("lastSeenAt"), tokens("USER-ID"), tokens("adId2")
    (['last', 'seen', 'at'], ['user', 'id'], ['ad', 'id', '2'])
    """
    split = re.sub(r"([a-z])([A-Z0-9])", r"\1 \2", name)
    return [part for part in re.split(r"[^a-z0-9]+", split.lower()) if part]


def stems(name: str) -> list[str]:
    """The tokens without a plural's ending, and with a key's word on its own.

    >>> stems("movies"), stems("user_ids"), stems("news"), stems("itemid"), stems("paid")
    (['movie'], ['user', 'id'], ['news'], ['item', 'id'], ['paid'])
    """
    found: list[str] = []
    for part in tokens(name):
        plural = len(part) > 2 and part.endswith("s") and not part.endswith("ss") and part not in KEY_WORDS
        singular = part[:-1] if plural else part
        thing = singular.removesuffix("id").removesuffix("code")
        joined = thing != singular and thing in KEY_WORDS
        found += [thing, singular.removeprefix(thing)] if joined else [singular]
    return found


def key_score(name: str, words: frozenset[str]) -> int:
    """How well a name fits the key of such a thing: 3 `user_id`, 2 `user`, 1 `seen_by_user`, 0 not at all.

    >>> [key_score(name, USER_WORDS) for name in ("userId", "userid", "uid", "seen_by_user_id", "user_age", "hour")]
    [3, 3, 2, 1, 0, 0]
    """
    parts = stems(name)
    if len(parts) == 2 and parts[0] in words and parts[1] in ID_WORDS:
        return 3
    if len(parts) == 1 and parts[0] in words:
        return 2
    named = [index for index, part in enumerate(parts) if part in words]
    if named and (named[-1] == len(parts) - 1 or parts[-1] in ID_WORDS):
        return 1
    return 0


def is_id(name: str) -> bool:
    """The name ends like a key's."""
    return bool(tokens(name)) and stems(name)[-1] in ID_WORDS


def has_word(name: str, words: frozenset[str]) -> bool:
    """Some part of the name is among `words`."""
    return bool(words.intersection(tokens(name))) or bool(words.intersection(stems(name)))
