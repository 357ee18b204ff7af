"""What the pages say about settings and error codes is what the code does."""

from pathlib import Path

from productagg.api.core.errors import ErrorCode
from productagg.settings import OPTIONS

README = Path(__file__).parents[1] / "README.md"
API = Path(__file__).parents[1] / "docs" / "api.md"


def test_the_readme_has_the_table_of_settings():
    rows = [
        f"| `{option.variable}` | `{option.key}` | {_default(option)} | {option.allowed} | {option.meaning} |"
        for option in OPTIONS
    ]
    assert "\n".join(rows) in README.read_text("utf-8")


def test_the_api_page_has_every_error_code():
    rows = [f"| `{code}` | {code.status} | {code.advice} |" for code in ErrorCode]
    assert "\n".join(rows) in API.read_text("utf-8")


def _default(option):
    if option.default is not None:
        return f"`{option.default}`"
    return "**required**" if option.required else "none"
