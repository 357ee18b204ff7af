"""Ini files: reading them, and errors that name the option or line and never show a value."""

import logging
import traceback

import pytest

from productagg import ini
from productagg.settings import OPTIONS, SettingsError

SOUND = """
[app:main]
use = egg:productagg
sqlalchemy.url = sqlite:///%(here)s/name.sqlite
jwt.secret = 100%% secret
"""
LOGGING = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ('%(here)s/log', 'w')
"""
PERCENT = "write a literal '%' as '%%'"


@pytest.fixture(params=["plain", "100%", "%(here)s", "%%"])
def directory(request, tmp_path):
    directory = tmp_path / request.param
    directory.mkdir()
    return directory


@pytest.fixture
def _same_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:], root.level = handlers, level


def written(directory, content):
    path = directory / "test.ini"
    path.write_text(content)
    return str(path)


def test_options_are_read_in_any_directory(directory):
    options = ini.app_settings(written(directory, SOUND))

    assert options["sqlalchemy.url"] == f"sqlite:///{directory}/name.sqlite"
    assert options["jwt.secret"] == "100% secret"


def test_logging_is_set_up_in_any_directory(directory, _same_logging):
    ini.setup_logging(written(directory, SOUND + LOGGING))

    logging.getLogger().warning("written")

    assert (directory / "log").read_text() == "written\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[app:main]\njwt.secret = abc%hunter2", f"[app:main] jwt.secret: {PERCENT}"),
        ("[app:main]\njwt.secret = abc%(hunter2", f"[app:main] jwt.secret: {PERCENT}"),
        ("[app:main]\njwt.secret = abc%(hunter2)s", f"[app:main] jwt.secret: {PERCENT}"),
        ("[app:main]\njwt.secret = hunter2%(jwt.secret)s", f"[app:main] jwt.secret: {PERCENT}"),
        ("[DEFAULT]\nkey = hunter2%\n[app:main]\njwt.secret = %(key)s", f"[DEFAULT] key: {PERCENT}"),
        ("[app:main]\na = b\nhunter2\n", "line 3 is neither a section nor an option with a value"),
        ("hunter2 = hunter2\n", "line 1 is before the first section"),
    ],
)
def test_an_error_names_the_option_or_line_and_shows_no_value(tmp_path, content, reason):
    path = written(tmp_path, content)

    with pytest.raises(SettingsError) as raised:
        ini.app_settings(path)

    assert str(raised.value) == f"{path}: {reason}"
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[app:main]\na = b\na = c\n", "[line 3]: option 'a' in section 'app:main' already exists"),
        ("[app:main]\n[app:main]\n", "[line 2]: section 'app:main' already exists"),
    ],
)
def test_a_duplicate_is_named(tmp_path, content, reason):
    with pytest.raises(SettingsError) as raised:
        ini.app_settings(written(tmp_path, content))

    assert str(raised.value).endswith(reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LOGGING.replace("keys = file", "keys = files"), "there is no 'handler_files'"),
        (LOGGING.replace("FileHandler", "NoHandler"), "ModuleNotFoundError"),
        (LOGGING.replace("%(here)s/log", "%(here)s/missing/log"), "No such file or directory"),
        (LOGGING.replace("%(here)s/log", "%hunter2"), f"[handler_file] args: {PERCENT}"),
    ],
)
def test_an_error_in_the_logging_sections_is_one_line(tmp_path, _same_logging, content, reason):
    path = written(tmp_path, content)

    with pytest.raises(SettingsError) as raised:
        ini.setup_logging(path)

    assert str(raised.value) == f"{path}: logging cannot be set up: {reason}"


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path):
    (tmp_path / "latin.ini").write_bytes("[app:main]\na = é".encode("latin-1"))

    for name, reason in (
        ("missing.ini", "No such file or directory"),
        ("latin.ini", "it is not UTF-8 text"),
        ("nonsense", 'Could not determine the loader scheme for the supplied config_uri "{}"'),
    ):
        path = str(tmp_path / name)
        with pytest.raises(SettingsError) as raised:
            ini.app_settings(path)
        assert str(raised.value).startswith(path)
        assert reason.split("{")[0] in str(raised.value)


def test_applications_are_checked_and_other_sections_are_not(tmp_path):
    ini.check_applications(written(tmp_path, f"{SOUND}\n[alembic]\nfile_template = %(rev)s"), {})

    with pytest.raises(SettingsError, match=r"\[app:other\] jwt.secret"):
        ini.check_applications(written(tmp_path, f"{SOUND}\n[app:other]\njwt.secret = abc%hunter2"), {})


def test_applications_may_refer_to_variables_of_the_command_line(tmp_path):
    path = written(tmp_path, f"{SOUND}\npublic.url = http://localhost:%(http_port)s\n")

    ini.check_applications(path, {"http_port": "8000", "other": "100%"})

    with pytest.raises(SettingsError, match=r"\[app:main\] public.url"):
        ini.check_applications(path, {})


class TestAnUnknownKeyOfTheIniFile:
    @pytest.mark.parametrize(
        ("key", "nearest"),
        [
            ("sync.worker", "sync.workers"),
            ("snyc.workers", "sync.workers"),
            ("Sync.Workers", "sync.workers"),
            ("workers", "sync.workers"),
            ("jwt_secret", "jwt.secret"),
            ("database_url", "sqlalchemy.url"),
            ("database.url", "sqlalchemy.url"),
            ("admin.user", "admin.username"),
            ("log_format", "log.format"),
        ],
    )
    def test_it_is_reported_with_the_nearest_one(self, key, nearest):
        [warning] = ini.unknown_keys({key: "hunter2", "sync.workers": "8"})

        assert warning == f"{key} in the ini file is not an option and has no effect; did you mean {nearest}?"

    def test_with_our_prefix_it_is_reported_even_if_it_resembles_no_option(self):
        assert ini.unknown_keys({"log.zzz": "hunter2"}) == [
            "log.zzz in the ini file is not an option and has no effect"
        ]

    def test_options_of_other_packages_are_not_reported(self):
        others = "use filter-with pyramid.includes pyramid.reload_templates debug_all default_locale_name"
        others += " debugtoolbar.hosts session.secret tm.attempts retry.attempts mail.host celery.workers"

        assert ini.unknown_keys(dict.fromkeys(others.split(), "")) == []

    def test_every_option_is_known(self):
        assert ini.unknown_keys(dict.fromkeys((option.key for option in OPTIONS), "")) == []
