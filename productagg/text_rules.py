"""What the names of products and users and the passwords may be. Pure: for the settings, the API and the commands.

Characters are judged by their Unicode properties (https://www.unicode.org/reports/tr44/) and emoji by the grammar of
https://www.unicode.org/reports/tr51/, in the version that the package `regex` knows.
"""

import re
import unicodedata
from functools import cache
from typing import Any

PASSWORD_MIN_LENGTH, PASSWORD_MAX_LENGTH = 8, 1000
USERNAME_MAX_LENGTH = 200

# C0 and C1 with NUL, which PostgreSQL does not store; and lone surrogates, which UTF-8 does not have.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# The Braille pattern without a dot is a symbol, and as blank as a space.
_BLANK = r"[\p{Z}\p{C}\p{Default_Ignorable_Code_Point}\u2800]*"
# Characters that do not show, or that steer how others do (writing direction). Format characters that show (Arabic
# number signs, Egyptian joiners) are none.
_INVISIBLE = (
    r"(?V1)[\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}"
    r"[\p{Cf}--[\p{Prepended_Concatenation_Mark}\p{Script=Egyptian_Hieroglyphs}]]]"
)
# Where invisible characters change what is seen: in the sequences that Unicode defines.
_SEQUENCES = r"""(?xV1)
    (?<=[0-9\#*]) \uFE0F (?=\u20E3)                                     # a keycap
    | (?<=[\p{Emoji}--[0-9\#*]]) \uFE0F                                 # a symbol in colour
    | (?<=[\p{Extended_Pictographic}&&\p{Emoji_Presentation}]) \uFE0E    # one that would be in colour, in black
    | (?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}] \uFE0F?) \u200D (?=\p{Extended_Pictographic})
    | (?<=\U0001F3F4) (?: \U000E0067\U000E0062 (?:                      # the flags of England, Scotland and Wales:
        \U000E0065\U000E006E\U000E0067 | \U000E0073\U000E0063\U000E0074 | \U000E0077\U000E006C\U000E0073
        )) \U000E007F                                                   # all tag sequences that Unicode recommends
    | (?<=[\p{Joining_Type=D}\p{Joining_Type=R}\p{Joining_Type=L}[[\p{L}\p{M}]&&\P{InSC=Other}]] \p{M}*) [\u200C\u200D]
    | (?<=\p{Unified_Ideograph}) [\U000E0100-\U000E01EF]                # a variant of an ideograph
    | (?<=\p{Script=Mongolian}) [\u180B-\u180F]                         # a variant of a Mongolian letter
"""
# A selector of the style that the symbol has anyway.
_REDUNDANT_SELECTOR = r"(?V1)(?<=\p{Emoji_Presentation})\uFE0F|(?<=[\p{Emoji}--\p{Emoji_Presentation}])\uFE0E"


@cache
def _compiled(pattern: str) -> Any:
    # Imported when a text needs it: cron starts a pass each minute, whose texts are ASCII as a rule.
    import regex

    return regex.compile(pattern)


def nfc(text: str) -> str:
    """The text in the Unicode form NFC, in which é is one character and never an e with an accent after it."""
    return unicodedata.normalize("NFC", text)


def tidy_name(text: str) -> str:
    """The one spelling of a name: without white space around it, in NFC, without redundant emoji selectors."""
    text = nfc(text.strip())
    return text if text.isascii() else _compiled(_REDUNDANT_SELECTOR).sub("", text)


def is_blank(text: str) -> bool:
    """Whether nothing of the text shows."""
    return not _CONTROL.sub("", text).strip() or (not text.isascii() and bool(_compiled(_BLANK).fullmatch(text)))


def has_control(text: str) -> bool:
    """Whether a control character or a lone surrogate is in the text."""
    return _CONTROL.search(text) is not None


def has_invisible(text: str) -> bool:
    """Whether a character is in the text that does not show, where Unicode gives it no meaning for what is seen."""
    if text.isascii():
        return False
    invisible = _compiled(_INVISIBLE)
    return bool(invisible.search(text) and invisible.search(_compiled(_SEQUENCES).sub("", text)))


def username(text: str) -> str:
    """The name of a user to be added, tidied. Raises ValueError, whose message says what is wrong with it."""
    text = tidy_name(text)
    _check_shows(text)
    if has_invisible(text):
        raise ValueError("has invisible characters")
    if len(text) > USERNAME_MAX_LENGTH:
        raise ValueError(f"has more than {USERNAME_MAX_LENGTH} characters")
    return text


def password(text: str) -> str:
    """The password to be set, in NFC. Raises ValueError, whose message says what is wrong and does not show it."""
    text = nfc(text)
    _check_shows(text)
    if len(text) < PASSWORD_MIN_LENGTH:
        raise ValueError(f"has fewer than {PASSWORD_MIN_LENGTH} characters")
    if len(text) > PASSWORD_MAX_LENGTH:
        raise ValueError(f"has more than {PASSWORD_MAX_LENGTH} characters")
    return text


def _check_shows(text: str) -> None:
    if is_blank(text):
        raise ValueError("is empty")
    if has_control(text):
        raise ValueError("has control characters")
