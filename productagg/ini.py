"""Reads ini files so that an error never shows a value, which may be a secret.

Called by the command line, the migrations and, before PasteDeploy reads the file, the server. PasteDeploy's own errors
show the value of an option with a wrong `%`, and its reader refuses files in a directory with a `%` in its name.
"""

import configparser
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import plaster
from plaster_pastedeploy import Loader

from productagg.settings import OPTIONS, SettingsError

# The sections that PasteDeploy reads for an application.
_OF_APPLICATIONS = ("app", "application", "composite", "composit", "pipeline", "filter-app", "filter")


def app_settings(uri: str) -> dict[str, str]:
    """The options of the section `app:main`. Raises SettingsError with one line, which names the file."""
    loader = _loader(uri)
    try:
        return dict(loader.get_settings("app:main", _places(loader)))
    except Exception as error:
        raise SettingsError(f"{uri}: {_reason(error)}") from None


def setup_logging(uri: str) -> None:
    """Set up logging as the ini file says. Raises SettingsError with one line, which names the file."""
    loader = _loader(uri)
    try:
        loader.setup_logging(_places(loader))
    except Exception as error:
        raise SettingsError(f"{uri}: logging cannot be set up: {_reason(error)}") from None


def check_applications(path: str, variables: Mapping[str, str]) -> None:
    """Raises SettingsError if PasteDeploy could not read the file's applications.

    The file may refer to `variables`, those of pserve's command line.
    """
    loader = _loader(path)
    known = {name: value.replace("%", "%%") for name, value in variables.items()} | _places(loader)
    try:
        for section in loader.get_sections():
            if section.partition(":")[0] in _OF_APPLICATIONS:
                loader.get_settings(section, known)
    except Exception as error:
        raise SettingsError(f"{path}: {_reason(error)}") from None


def unknown_keys(section: Mapping[str, str]) -> list[str]:
    """Return a warning, with the nearest option, for each key of an app section that has no effect.

    The section may hold options of other packages: a key with a foreign prefix is reported only if it resembles ours.
    """
    keys = {option.key for option in OPTIONS}
    prefixes = {key.partition(".")[0] for key in keys}
    names = {name: option.key for option in OPTIONS for name in (option.key, option.variable.lower())}
    warnings = []
    for key in section.keys() - keys:
        near = get_close_matches(key.lower(), names, n=1, cutoff=0.8 if "." in key else 0.7)
        if near or re.split(r"[._]", key)[0] in prefixes:
            hint = f"; did you mean {names[near[0]]}?" if near else ""
            warnings.append(f"{key} in the ini file is not an option and has no effect{hint}")
    return sorted(warnings)


def _loader(uri: str) -> Any:
    try:
        parsed = plaster.parse_uri(uri)
        # plaster would look for the loader in all installed distributions: 0.1 s, each time cron starts a pass.
        return Loader(parsed) if parsed.scheme == "file+ini" else plaster.get_loader(uri)
    except (plaster.PlasterError, ValueError) as error:
        raise SettingsError(f"{uri}: {' '.join(str(error).split())}") from None


def _places(loader: Any) -> dict[str, str]:
    """`here` and `__file__`, which an ini file may refer to, as text in which `%` is escaped."""
    if not getattr(loader, "filepath", None):
        return {}
    path = Path(loader.filepath)
    return {name: str(place).replace("%", "%%") for name, place in (("here", path.parent), ("__file__", path))}


def _reason(error: Exception) -> str:
    """What is wrong, by section, option and line only."""
    match error:
        case configparser.InterpolationError():
            return f"[{error.section}] {error.option}: a '%' that stands for itself is written '%%'"
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno} is before the first section"
        case configparser.ParsingError():
            return f"line {error.errors[0][0]} is neither a section nor an option with a value"
        case configparser.Error():  # a section or an option that is there twice
            return " ".join(str(error).split())
        case OSError():
            return error.strerror or type(error).__name__
        case UnicodeError():
            return "it is not text in UTF-8"
        case KeyError():
            return f"there is no {error}"
        case _:
            return type(error).__name__
