"""Rules for names, passwords and URLs of images. Pure functions for the settings, the API and the command line.

Characters are classified by their Unicode properties (https://www.unicode.org/reports/tr44/) and emoji by the grammar
of https://www.unicode.org/reports/tr51/, in the Unicode version of the package `regex`.
"""

import re
import unicodedata
from functools import cache
from typing import Any
from urllib.parse import urlsplit

PASSWORD_MIN_LENGTH, PASSWORD_MAX_LENGTH = 8, 1000
USERNAME_MAX_LENGTH = 200

# C0 and C1 (PostgreSQL cannot store NUL), and lone surrogates, which UTF-8 cannot encode.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# U+2800, the Braille pattern without dots, is a symbol that looks like a space.
_BLANK = r"[\p{Z}\p{C}\p{Default_Ignorable_Code_Point}\u2800]*"
# Characters without a glyph, and characters that change how others are displayed (writing direction). Format characters
# with a glyph (Arabic number signs, Egyptian joiners) are visible.
_INVISIBLE = (
    r"(?V1)[\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}"
    r"[\p{Cf}--[\p{Prepended_Concatenation_Mark}\p{Script=Egyptian_Hieroglyphs}]]]"
)
# The sequences defined by Unicode in which an invisible character changes the glyph.
_SEQUENCES = r"""(?xV1)
    (?<=[0-9\#*]) \uFE0F (?=\u20E3)                                     # a keycap
    | (?<=[\p{Emoji}--[0-9\#*]]) \uFE0F                                 # a symbol in colour
    | (?<=[\p{Extended_Pictographic}&&\p{Emoji_Presentation}]) \uFE0E    # a coloured symbol, in black
    | (?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}] \uFE0F?) \u200D (?=\p{Extended_Pictographic})
    | (?<=\U0001F3F4) (?: \U000E0067\U000E0062 (?:                      # the flags of England, Scotland and Wales:
        \U000E0065\U000E006E\U000E0067 | \U000E0073\U000E0063\U000E0074 | \U000E0077\U000E006C\U000E0073
        )) \U000E007F                                                   # all tag sequences that Unicode recommends
    | (?<=[\p{Joining_Type=D}\p{Joining_Type=R}\p{Joining_Type=L}[[\p{L}\p{M}]&&\P{InSC=Other}]] \p{M}*) [\u200C\u200D]
    | (?<=\p{Unified_Ideograph}) [\U000E0100-\U000E01EF]                # a variant of an ideograph
    | (?<=\p{Script=Mongolian}) [\u180B-\u180F]                         # a variant of a Mongolian letter
"""
# A selector of the style that the symbol has by default.
_REDUNDANT_SELECTOR = r"(?V1)(?<=\p{Emoji_Presentation})\uFE0F|(?<=[\p{Emoji}--\p{Emoji_Presentation}])\uFE0E"


@cache
def _compiled(pattern: str) -> Any:
    # Imported when needed: cron starts a process every minute, and its texts are usually ASCII.
    import regex

    return regex.compile(pattern)


def nfc(text: str) -> str:
    """Return the text in the Unicode form NFC: é is one character, not an e followed by a combining accent."""
    return unicodedata.normalize("NFC", text)


def normalize_name(text: str) -> str:
    """Return the canonical spelling of a name: stripped of white space, in NFC, without redundant emoji selectors."""
    text = nfc(text.strip())
    return text if text.isascii() else _compiled(_REDUNDANT_SELECTOR).sub("", text)


def is_blank(text: str) -> bool:
    """Whether the text has no visible character."""
    return not _CONTROL.sub("", text).strip() or (not text.isascii() and bool(_compiled(_BLANK).fullmatch(text)))


def has_control(text: str) -> bool:
    """Whether the text has a control character or a lone surrogate."""
    return _CONTROL.search(text) is not None


def has_invisible(text: str) -> bool:
    """Whether the text has an invisible character outside the sequences in which it may change a glyph."""
    if text.isascii():
        return False
    invisible = _compiled(_INVISIBLE)
    return bool(invisible.search(text) and invisible.search(_compiled(_SEQUENCES).sub("", text)))


def is_web_url(text: str) -> bool:
    """Whether the text is an http or https URL without a user name, a password, white space and control characters."""
    if has_control(text) or text.split() != [text]:  # urlsplit would remove some of them
        return False
    try:
        parts = urlsplit(text)
        # Browsers take a backslash for a slash: the host would be another one than urlsplit finds.
        has_plain_host = bool(parts.hostname) and parts.port != 0 and set("@\\").isdisjoint(parts.netloc)
    except ValueError:  # for example a port that is not a number
        return False
    return parts.scheme in ("http", "https") and has_plain_host


def valid_username(text: str) -> str:
    """Return the normalized name for a new user. Raises ValueError, whose message says what is wrong with the name."""
    text = normalize_name(text)
    _check_visible(text)
    if has_invisible(text):
        raise ValueError("has invisible characters")
    _check_at_most(USERNAME_MAX_LENGTH, text)
    return text


def valid_password(text: str) -> str:
    """Return a new password in NFC. Raises ValueError, whose message says what is wrong but not the password."""
    text = nfc(text)
    _check_visible(text)
    if len(text) < PASSWORD_MIN_LENGTH:
        raise ValueError(f"has fewer than {PASSWORD_MIN_LENGTH} characters")
    _check_at_most(PASSWORD_MAX_LENGTH, text)
    return text


def _check_at_most(length: int, text: str) -> None:
    if len(text) > length:
        raise ValueError(f"has more than {length} characters")


def _check_visible(text: str) -> None:
    if is_blank(text):
        raise ValueError("is empty")
    if has_control(text):
        raise ValueError("has control characters")
