"""Reads ini files. Its errors never show a value, which may be a secret.

The command line and the migrations read their settings here. The server checks its file here before PasteDeploy reads
it, because PasteDeploy's own errors show the value of an option with a wrong `%`. PasteDeploy also cannot read a file
in a directory with a `%` in its name.
"""

import configparser
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import plaster
from plaster_pastedeploy import Loader

from productagg.settings import OPTIONS, SettingsError

# The kinds of sections that PasteDeploy reads for an application.
_APPLICATION_SECTIONS = ("app", "application", "composite", "composit", "pipeline", "filter-app", "filter")
_PREFIXES = {option.key.partition(".")[0] for option in OPTIONS}
_KEY_BY_NAME = {name: option.key for option in OPTIONS for name in (option.key, option.variable.lower())}


def app_settings(uri: str) -> dict[str, str]:
    """Return the options of the section `app:main`. Raises SettingsError with one line that names the file."""
    loader = _loader(uri)
    try:
        return dict(loader.get_settings("app:main", _file_variables(loader)))
    except Exception as error:
        raise SettingsError(f"{uri}: {_problem(error)}") from None


def setup_logging(uri: str) -> None:
    """Set up logging as the ini file says. Raises SettingsError with one line that names the file."""
    loader = _loader(uri)
    try:
        loader.setup_logging(_file_variables(loader))
    except Exception as error:
        raise SettingsError(f"{uri}: logging cannot be set up: {_problem(error)}") from None


def check_applications(path: str, variables: Mapping[str, str]) -> None:
    """Raise SettingsError if PasteDeploy could not read the file's applications.

    The file may refer to `variables`, which come from pserve's command line.
    """
    loader = _loader(path)
    all_variables = {name: _escaped(value) for name, value in variables.items()} | _file_variables(loader)
    try:
        for section in filter(_is_application, loader.get_sections()):
            loader.get_settings(section, all_variables)
    except Exception as error:
        raise SettingsError(f"{path}: {_problem(error)}") from None


def _is_application(section: str) -> bool:
    return section.partition(":")[0] in _APPLICATION_SECTIONS


def unknown_keys(section: Mapping[str, str]) -> list[str]:
    """Return a warning for each key of an app section that has no effect, with the option whose name is nearest.

    The section may hold options of other packages: a key with another prefix is reported only if it resembles one of
    our options.
    """
    unknown = section.keys() - {option.key for option in OPTIONS}
    return sorted(filter(None, map(_warning, unknown)))


def _warning(key: str) -> str | None:
    nearest = _nearest_option(key)
    if nearest is not None:
        return f"{key} in the ini file is not an option and has no effect; did you mean {nearest}?"
    if re.split(r"[._]", key)[0] in _PREFIXES:
        return f"{key} in the ini file is not an option and has no effect"
    return None


def _nearest_option(key: str) -> str | None:
    """Return the key of the option whose key or environment variable resembles this key."""
    matches = get_close_matches(key.lower(), _KEY_BY_NAME, n=1, cutoff=0.8 if "." in key else 0.7)
    return _KEY_BY_NAME[matches[0]] if matches else None


def _loader(uri: str) -> Any:
    try:
        parsed = plaster.parse_uri(uri)
        # plaster searches all installed distributions for a loader, which takes 0.1 s each time cron starts a process.
        return Loader(parsed) if parsed.scheme == "file+ini" else plaster.get_loader(uri)
    except (plaster.PlasterError, ValueError) as error:
        raise SettingsError(f"{uri}: {' '.join(str(error).split())}") from None


def _file_variables(loader: Any) -> dict[str, str]:
    """Return `here` and `__file__`, which an ini file may refer to."""
    if not getattr(loader, "filepath", None):
        return {}
    path = Path(loader.filepath)
    return {"here": _escaped(str(path.parent)), "__file__": _escaped(str(path))}


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def _problem(error: Exception) -> str:
    """Describe an error by section, option and line only."""
    description = next(describe for kind, describe in _DESCRIPTIONS.items() if isinstance(error, kind))
    return description(error)


# The first kind that fits describes the error: subclasses come before their base classes.
_DESCRIPTIONS: dict[type[Exception], Callable[[Any], str]] = {
    configparser.InterpolationError: lambda error: f"[{error.section}] {error.option}: write a literal '%' as '%%'",
    configparser.MissingSectionHeaderError: lambda error: f"line {error.lineno} is before the first section",
    configparser.ParsingError: lambda error: (
        f"line {error.errors[0][0]} is neither a section nor an option with a value"
    ),
    configparser.Error: lambda error: " ".join(str(error).split()),  # a duplicate section or option
    OSError: lambda error: error.strerror or type(error).__name__,
    UnicodeError: lambda _: "it is not UTF-8 text",
    KeyError: lambda error: f"there is no {error}",
    Exception: lambda error: type(error).__name__,
}
