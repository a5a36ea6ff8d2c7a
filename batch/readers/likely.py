"""Which encoding text probably has that is no UTF-8: a guess for a message, never acted on.

Each encoding is tried, and judged by how many of its characters beyond ASCII are where such
characters stand in text: letters of Western languages singly among ASCII letters, those of other
scripts beside each other.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

MOST = 1 << 15
"""Bytes that are looked at."""

_WESTERN = frozenset("éèüöäßçñóáíàâêîôûëïúåøæãõœùÿ")
_SELDOM = frozenset("ìòýðþžš")
_CENTRAL = frozenset("ąćęłńóśźżáčďéěíňřšťúůýžőűäöüâîăşţ")
_TURKISH = frozenset("ığşçöüâî")
_SIGNS = frozenset("“”„‘’‚–—…•«»€£©®™°§¿¡\xa0½²³·")
_APOSTROPHES = frozenset("’‘·\xa0–—-")
_HANZI = frozenset(
    "的一是不了人我在有他这这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里"
    "后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动"
    "這來國個說們為時會過學對裡後麼沒於還發當無開經頭動長"
)

Weight = Callable[[str, str, str], float]
"""How much a character between two others speaks for an encoding."""


def encoding(text: bytes) -> str | None:
    """The likeliest encoding; None for UTF-8, also where it is damaged."""
    whole, text = len(text) <= MOST, text[:MOST]
    mended = codecs.getincrementaldecoder("utf-8")("replace").decode(text, whole)
    beyond = [letter for letter in mended if letter > "\x7f"]
    broken = beyond.count("\N{REPLACEMENT CHARACTER}")
    if not broken or len(beyond) >= 2 * broken:
        return None
    scores = {name: _score(text, name, weight) for name, weight in _ENCODINGS.items()}
    best = max(scores, key=lambda name: scores[name])  # the first of equals
    return best if scores[best] > 0 else None


def _score(text: bytes, name: str, weight: Weight) -> float:
    try:
        decoded = codecs.getincrementaldecoder(name)().decode(text)
    except UnicodeDecodeError:
        return 0.0
    padded = f" {decoded} "
    weights = [
        weight(*padded[at - 1 : at + 2]) for at in range(1, len(padded) - 1) if padded[at] > "\x7f"
    ]
    return sum(weights) / max(len(weights), 1)


def _latin(own: frozenset[str], seldom: frozenset[str] = frozenset(), most: float = 1.0) -> Weight:
    """An alphabet that is ASCII's with a few letters more; those of the West stand singly."""
    western = most == 1.0

    def weight(before: str, letter: str, after: str) -> float:
        low = letter.lower()
        if low in own or low in seldom:
            if western and _foreign(before) and _foreign(after):
                return 0.0
            if letter != low and before.islower():
                return 0.0
            alone = letter != low and not after.isalpha()
            return 0.5 if alone else most if low in own else 0.6
        if letter in _SIGNS:
            inside = _ascii(before) and _ascii(after)
            return 0.95 if not inside or letter in _APOSTROPHES else 0.0
        return 0.1

    return weight


def _script(first: str, last: str, frequent: str, most: float = 1.0) -> Weight:
    """An alphabet of its own, with letters from `first` to `last`."""

    def weight(before: str, letter: str, after: str) -> float:
        if first <= letter <= last:
            upper = letter != letter.lower()
            if _ascii(before) or _ascii(after) or (upper and before.islower()):
                return 0.0
            alone = upper and not after.isalpha()
            return 0.5 if alone else most if letter.lower() in frequent else 0.8
        return 0.8 if letter in _SIGNS else 0.1

    return weight


def _east_asian(before: str, letter: str, after: str) -> float:
    if _ascii(before) and _ascii(after):
        return 0.0
    if "\u3000" <= letter <= "\u3002" or letter in _HANZI:
        return 1.0
    return 0.5 if "\u4e00" <= letter <= "\u9fff" or "\uff00" <= letter <= "\uff5e" else 0.1


def _japanese(before: str, letter: str, after: str) -> float:
    kana = "\u3041" <= letter <= "\u30fc"
    return 1.0 if kana else _east_asian(before, letter, after)


def _korean(before: str, letter: str, after: str) -> float:
    hangul = "\uac00" <= letter <= "\ud7a3"
    return 1.0 if hangul else _east_asian(before, letter, after) / 2


def _ascii(letter: str) -> bool:
    return letter.isascii() and letter.isalpha()


def _foreign(letter: str) -> bool:
    return letter > "\x7f" and letter.isalpha()


_ENCODINGS: dict[str, Weight] = {
    "cp1252": _latin(_WESTERN, _SELDOM),
    "cp1250": _latin(_CENTRAL, most=0.96),
    "cp1254": _latin(_TURKISH),
    "mac_roman": _latin(_WESTERN),
    "cp850": _latin(_WESTERN),
    "cp1251": _script("\u0401", "\u0491", "оеаинтсрвлкмд"),
    "koi8-r": _script("\u0401", "\u0451", "оеаинтсрвлкмд", 0.97),
    "cp866": _script("\u0401", "\u0451", "оеаинтсрвлкмд", 0.97),
    "cp1253": _script("\u0384", "\u03ce", "αοιετσνηυρπκμλςάέήίό"),
    "cp1255": _script("\u05d0", "\u05ea", "יוהלארתבשמ"),
    "cp1256": _script("\u060c", "\u06d2", "اليمونرتبةعدسف"),
    "cp932": _japanese,
    "euc_jp": _japanese,
    "gb18030": _east_asian,
    "big5": _east_asian,
    "cp949": _korean,
}
"""In the order in which they are believed."""
