"""How an option is declared, and how its value is read from the environment or the ini file.

An option is a field of a dataclass, made by `required`, `optional` or `option`. Its environment variable is the field's
name in upper case; its ini key is the name with a dot for the first underscore.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from productagg.settings.parsers import Parser

_T = TypeVar("_T")


@dataclass(frozen=True)
class Option:
    """A declared option: the name of its field, where its text comes from, and how the text becomes a value."""

    name: str
    variable: str
    key: str
    parser: Parser[Any]
    meaning: str
    default: str | None = None
    required: bool = False
    secret: bool = False

    @property
    def allowed(self) -> str:
        return self.parser.allowed

    def read(self, ini: Mapping[str, str], environ: Mapping[str, str]) -> Any:
        """Return the value, or None for an optional option that is not set.

        Raises ValueError with one line: the variable, what is wrong, what is allowed.
        """
        text = self._text(ini, environ)
        if text is None:
            return None
        try:
            return self.parser.parse(_check_utf8(text))
        except ValueError as error:
            raise ValueError(self._fault(f"{self._shown(text)}{error}")) from None

    def _text(self, ini: Mapping[str, str], environ: Mapping[str, str]) -> str | None:
        # An empty variable counts as not set: `${VARIABLE:-}` in a compose file makes it empty.
        text = environ.get(self.variable) or ini.get(self.key) or self.default
        if text is None and self.required:
            raise ValueError(self._fault("is not set"))
        return text

    def _shown(self, text: str) -> str:
        # A text with an @ may be a URL with a password.
        return "" if self.secret or "@" in text else f"{text!r} "

    def _fault(self, problem: str) -> str:
        return f"{self.variable} (ini: {self.key}) {problem}; allowed: {self.allowed}"


def option(parser: Parser[_T], *, default: str, meaning: str, variable: str = "", key: str = "") -> _T:
    """Declare an option with a default, which is written as in the environment."""
    return _field(parser, default=default, meaning=meaning, variable=variable, key=key)


def required(parser: Parser[_T], *, meaning: str, key: str = "", secret: bool = False) -> _T:
    """Declare an option without which productagg does not start."""
    return _field(parser, required=True, meaning=meaning, key=key, secret=secret)


def optional(parser: Parser[_T], *, meaning: str, secret: bool = False) -> _T | None:
    """Declare an option whose value is None if it is not set."""
    return _field(parser, meaning=meaning, secret=secret)


def _field(parser: Parser[_T], *, secret: bool = False, **declaration: Any) -> _T:
    # No repr of secrets: SQLAlchemy's URL hides its password from repr, but not a password in its query.
    field: _T = dataclasses.field(repr=not secret, metadata={"parser": parser, "secret": secret, **declaration})
    return field


def declared_options(settings: type) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, in the order of its fields."""
    return tuple(_declared(field.name, **field.metadata) for field in dataclasses.fields(settings))


def _declared(name: str, *, variable: str = "", key: str = "", **declaration: Any) -> Option:
    return Option(name, variable or name.upper(), key or name.replace("_", ".", 1), **declaration)


def read(
    options: Iterable[Option], ini: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of the valid options by name, and a message for every invalid option."""
    values, faults = {}, []
    for declared in options:
        try:
            values[declared.name] = declared.read(ini, environ)
        except ValueError as error:
            faults.append(str(error))
    return values, faults


def _check_utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # other bytes of the environment arrive as lone surrogates
        raise ValueError("is not UTF-8") from None
    return text
