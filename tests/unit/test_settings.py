"""Every option: where its value comes from, which values are allowed, and the message for others."""

import pytest
from pyramid.paster import get_appsettings
from sqlalchemy.engine import URL

from productagg import sandbox
from productagg.settings import (
    DEVELOPMENT_ADMIN_PASSWORD,
    DEVELOPMENT_DATABASE_PASSWORD,
    DEVELOPMENT_JWT_SECRET,
    DEVELOPMENT_REFRESH_TOKEN,
    OPTIONS,
    Secret,
    Settings,
    SettingsError,
)

REQUIRED = {
    "DATABASE_URL": "postgresql://productagg:a-password@db/productagg",
    "OFFERS_BASE_URL": "https://offers.test/api/v1",
    "OFFERS_REFRESH_TOKEN": "a-refresh-token",
    "JWT_SECRET": "a secret of our own, of 32 bytes",
}
KEYS = {option.variable: option.key for option in OPTIONS}


def load(ini=None, **environ):
    return Settings.load(ini or {}, environ={**REQUIRED, **environ})


def faults(ini=None, **environ):
    """The message for this configuration, a line per fault."""
    with pytest.raises(SettingsError) as raised:
        load(ini, **environ)
    return str(raised.value).splitlines()


class TestWhereAValueComesFrom:
    def test_an_option_that_is_not_set_has_its_default(self):
        assert load() == Settings(
            mode="production",
            database_url=URL.create("postgresql+psycopg2", "productagg", "a-password", "db", database="productagg"),
            database_prepared=True,
            currency="EUR",
            offers_base_url="https://offers.test/api/v1",
            offers_refresh_token=Secret("a-refresh-token"),
            offers_timeout_seconds=10.0,
            offers_currency=None,
            jwt_secret=Secret("a secret of our own, of 32 bytes"),
            jwt_lifetime_seconds=300,
            login_attempts=10,
            login_attempts_per_address=50,
            login_attempts_per_account=200,
            login_window_seconds=900,
            admin_username="admin",
            admin_password=None,
            public_url=None,
            cors_origins=None,
            sync_interval_seconds=60,
            sync_max_interval_seconds=None,
            sync_budget_seconds=55,
            sync_max_requests_per_second=None,
            sync_workers=8,
            sources_allow_private_networks=False,
            quarantine_factor=10.0,
            history_raw_days=90,
            offers_closed_days=366,
            changes_raw_days=7,
            shutdown_seconds=15.0,
            shutdown_delay_seconds=0.0,
            log_format="text",
        )

    GIVEN = (
        ("PRODUCTAGG_MODE", "development", "production"),
        ("DATABASE_URL", "sqlite:///one.sqlite", "sqlite:///two.sqlite"),
        ("DATABASE_PREPARED", "false", "true"),
        ("CURRENCY", "CZK", "JPY"),
        ("OFFERS_BASE_URL", "http://one.test", "http://two.test"),
        ("OFFERS_REFRESH_TOKEN", "one", "two"),
        ("OFFERS_TIMEOUT_SECONDS", "0.5", "300"),
        ("OFFERS_CURRENCY", "CZK", "EUR"),
        ("JWT_SECRET", "1" * 32, "2" * 32),
        ("JWT_LIFETIME_SECONDS", "1", "86400"),
        ("LOGIN_ATTEMPTS", "1", "100"),
        ("LOGIN_ATTEMPTS_PER_ADDRESS", "1", "100000"),
        ("LOGIN_ATTEMPTS_PER_ACCOUNT", "20", "100000"),
        ("LOGIN_WINDOW_SECONDS", "1", "86400"),
        ("ADMIN_USERNAME", "one", "two"),
        ("ADMIN_PASSWORD", "password one", "password two"),
        ("PUBLIC_URL", "http://one.test", "https://two.test/shop"),
        ("CORS_ORIGINS", "*", "https://shop.example"),
        ("SYNC_INTERVAL_SECONDS", "1", "86400"),
        ("SYNC_MAX_INTERVAL_SECONDS", "60", "604800"),
        ("SYNC_BUDGET_SECONDS", "1", "86400"),
        ("SYNC_MAX_REQUESTS_PER_SECOND", "0.01", "100000"),
        ("SYNC_WORKERS", "1", "64"),
        ("SOURCES_ALLOW_PRIVATE_NETWORKS", "true", "false"),
        ("QUARANTINE_FACTOR", "0", "2.5"),
        ("HISTORY_RAW_DAYS", "31", "3660"),
        ("OFFERS_CLOSED_DAYS", "31", "3660"),
        ("CHANGES_RAW_DAYS", "2", "3660"),
        ("SHUTDOWN_SECONDS", "0", "300"),
        ("SHUTDOWN_DELAY_SECONDS", "1", "14"),
        ("LOG_FORMAT", "json", "text"),
    )

    def test_the_next_test_covers_every_option(self):
        assert [variable for variable, _, _ in self.GIVEN] == list(KEYS)

    @pytest.mark.parametrize(("variable", "one", "two"), GIVEN)
    def test_the_environment_wins_over_the_ini_file(self, variable, one, two):
        key = KEYS[variable]
        without = {name: value for name, value in REQUIRED.items() if name != variable}

        from_ini = Settings.load({key: one}, environ=without)
        from_environment = Settings.load({key: one}, environ={**without, variable: two})
        of_an_empty_variable = Settings.load({key: one}, environ={**without, variable: ""})

        assert from_environment == load(**{variable: two}) != from_ini
        assert of_an_empty_variable == from_ini == load(**{variable: one})

    @pytest.mark.parametrize("environ", [{}, dict.fromkeys(KEYS, "")], ids=["unset", "empty"])
    def test_a_required_option_must_be_set(self, environ):
        with pytest.raises(SettingsError) as raised:
            Settings.load({}, environ=environ)

        assert [line.partition(";")[0] for line in str(raised.value).splitlines()] == [
            f"{variable} (ini: {KEYS[variable]}) is not set" for variable in REQUIRED
        ]

    def test_the_environment_is_that_of_the_process_unless_another_is_given(self, monkeypatch):
        for variable, value in REQUIRED.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("SYNC_WORKERS", "3")

        assert Settings.load({}).sync_workers == 3

    def test_other_keys_and_variables_are_ignored(self):
        assert load({"pyramid.reload_templates": "true"}, HOME="/root") == load()


class TestAWrongValue:
    @pytest.mark.parametrize(("seconds", "delay"), [("15", "15"), ("15", "20"), ("0", "1")])
    def test_the_shutdown_delay_must_leave_time_to_answer(self, seconds, delay):
        with pytest.raises(SettingsError, match="SHUTDOWN_DELAY_SECONDS is not below SHUTDOWN_SECONDS"):
            load(SHUTDOWN_SECONDS=seconds, SHUTDOWN_DELAY_SECONDS=delay)

    def test_without_a_delay_no_time_is_needed(self):
        assert load(SHUTDOWN_SECONDS="0", SHUTDOWN_DELAY_SECONDS="0").shutdown_seconds == 0

    def test_one_address_cannot_use_up_the_attempts_of_all_addresses(self):
        with pytest.raises(SettingsError, match="LOGIN_ATTEMPTS_PER_ACCOUNT is below twice LOGIN_ATTEMPTS"):
            load(LOGIN_ATTEMPTS_PER_ACCOUNT="19")

    def test_the_longest_interval_must_not_be_below_the_usual_one(self):
        with pytest.raises(SettingsError, match="SYNC_MAX_INTERVAL_SECONDS is below SYNC_INTERVAL_SECONDS"):
            load(SYNC_INTERVAL_SECONDS="60", SYNC_MAX_INTERVAL_SECONDS="59")

        assert load(SYNC_INTERVAL_SECONDS="60", SYNC_MAX_INTERVAL_SECONDS="60").sync_max_interval_seconds == 60

    @pytest.mark.parametrize(
        ("variable", "value", "problem"),
        [
            ("PRODUCTAGG_MODE", "staging", "is not one of the allowed values"),
            ("PRODUCTAGG_MODE", "Production", "is not one of the allowed values"),
            ("DATABASE_PREPARED", "1", "is not one of the allowed values"),
            ("OFFERS_BASE_URL", "offers.test/api/v1", "is not a base URL"),
            ("OFFERS_BASE_URL", "ftp://offers.test", "is not a base URL"),
            ("OFFERS_BASE_URL", "http:///api/v1", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://offers.test/?a=b", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://offers.test/?", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://offers.test/#top", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://offers.test:99999", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://offers.test:http", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://[::1", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://off ers.test", "is not a base URL"),
            ("OFFERS_BASE_URL", "http://offers\n.test", "is not a base URL"),
            ("PUBLIC_URL", "shop.example", "is not a base URL"),
            ("PUBLIC_URL", "https://m\u00fcnchen.example", "has characters that are not allowed in a URL"),
            ("PUBLIC_URL", "https://shop.example/\u017e", "has characters that are not allowed in a URL"),
            ("PUBLIC_URL", "https://shop.example/<a>", "has characters that are not allowed in a URL"),
            ("PUBLIC_URL", f"https://shop.example/{'x' * 480}", "has more than 500 characters"),
            ("OFFERS_TIMEOUT_SECONDS", "soon", "is not a number"),
            ("OFFERS_TIMEOUT_SECONDS", "nan", "is out of range"),
            ("OFFERS_TIMEOUT_SECONDS", "inf", "is out of range"),
            ("OFFERS_TIMEOUT_SECONDS", "0.09", "is out of range"),
            ("OFFERS_TIMEOUT_SECONDS", "300.1", "is out of range"),
            ("JWT_LIFETIME_SECONDS", "0", "is out of range"),
            ("JWT_LIFETIME_SECONDS", "86401", "is out of range"),
            ("JWT_LIFETIME_SECONDS", "300.0", "is not a whole number"),
            ("JWT_LIFETIME_SECONDS", "9" * 5000, "is not a whole number"),
            ("LOGIN_ATTEMPTS", "0", "is out of range"),
            ("LOGIN_ATTEMPTS_PER_ADDRESS", "100001", "is out of range"),
            ("LOGIN_ATTEMPTS_PER_ACCOUNT", "many", "is not a whole number"),
            ("LOGIN_WINDOW_SECONDS", "86401", "is out of range"),
            ("ADMIN_USERNAME", " ", "is empty"),
            ("ADMIN_USERNAME", "\u3164", "is empty"),
            ("ADMIN_USERNAME", "ad\0min", "has control characters"),
            ("ADMIN_USERNAME", "ad\u200bmin", "has invisible characters"),
            ("ADMIN_USERNAME", "x" * 201, "has more than 200 characters"),
            ("ADMIN_USERNAME", "caf\udce9", "is not UTF-8"),
            ("CORS_ORIGINS", ",", "is empty"),
            ("CORS_ORIGINS", "shop.example", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "null", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://shop.example/", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://shop.example/path", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://shop.example?q", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://Shop.example", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://*.shop.example", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://shop.example, *", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://shop.example:65536", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://shop.example:", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "ftp://shop.example", "holds a value that is not an origin"),
            ("CORS_ORIGINS", "https://", "holds a value that is not an origin"),
            (
                "CORS_ORIGINS",
                "https://shop.example:443",
                "holds an origin with a default port, which browsers leave out",
            ),
            ("CORS_ORIGINS", "http://shop.example:80", "holds an origin with a default port, which browsers leave out"),
            ("SYNC_INTERVAL_SECONDS", "-1", "is out of range"),
            ("SYNC_INTERVAL_SECONDS", "a minute\nor two", "is not a whole number"),
            ("SYNC_WORKERS", "0", "is out of range"),
            ("SYNC_WORKERS", "65", "is out of range"),
            ("SYNC_WORKERS", "eight", "is not a whole number"),
            ("QUARANTINE_FACTOR", "1", "is out of range"),
            ("QUARANTINE_FACTOR", "nan", "is out of range"),
            ("HISTORY_RAW_DAYS", "30", "is out of range"),
            ("HISTORY_RAW_DAYS", "3661", "is out of range"),
            ("OFFERS_CLOSED_DAYS", "30", "is out of range"),
            ("OFFERS_CLOSED_DAYS", "3661", "is out of range"),
            ("CHANGES_RAW_DAYS", "1", "is out of range"),
            ("LOG_FORMAT", "xml", "is not one of the allowed values"),
        ],
    )
    def test_the_message_is_one_line_with_variable_value_problem_and_allowed_values(self, variable, value, problem):
        allowed = next(option.allowed for option in OPTIONS if option.variable == variable)

        assert faults(**{variable: value}) == [
            f"{variable} (ini: {KEYS[variable]}) {value!r} {problem}; allowed: {allowed}"
        ]

    @pytest.mark.parametrize(
        ("variable", "value", "problem"),
        [
            ("DATABASE_URL", "mysql://somebody:hunter2@db/name", "names a database that productagg does not support"),
            ("DATABASE_URL", "hunter2", "is not a database URL"),
            ("CORS_ORIGINS", "https://somebody:hunter2@shop.example", "holds a value that is not an origin"),
            ("OFFERS_BASE_URL", "https://somebody:hunter2@offers.test", "holds a user name"),
            ("OFFERS_BASE_URL", "https://somebody:hunter2@offers.test:port", "is not a base URL"),
            ("OFFERS_REFRESH_TOKEN", " ", "is empty"),
            ("OFFERS_REFRESH_TOKEN", "hunter2\nX: y", "has characters that cannot go into a header"),
            ("OFFERS_REFRESH_TOKEN", "hunter2é", "has characters that cannot go into a header"),
            ("JWT_SECRET", "hunter2", "is too short"),
            ("JWT_SECRET", "é" * 15 + "x", "is too short"),
            ("JWT_SECRET", "hunter2" * 8 + "\udce9", "is not UTF-8"),
            ("ADMIN_PASSWORD", " ", "is empty"),
            ("ADMIN_PASSWORD", "\n", "is empty"),
            ("ADMIN_PASSWORD", "\u3164" * 8, "is empty"),
            ("ADMIN_PASSWORD", "hunter2", "has fewer than 8 characters"),
            ("ADMIN_PASSWORD", "hunter2" * 143, "has more than 1000 characters"),
            ("ADMIN_PASSWORD", "hunter2\nhunter2", "has control characters"),
            ("ADMIN_PASSWORD", "hunter2hunter2\n\n", "has control characters"),
            ("ADMIN_PASSWORD", "hunter2\udce9", "is not UTF-8"),
        ],
    )
    def test_a_possible_secret_is_not_shown(self, variable, value, problem):
        [line] = faults(**{variable: value})

        assert line.startswith(f"{variable} (ini: {KEYS[variable]}) {problem}")
        assert "hunter2" not in line

    def test_all_faults_are_reported_at_once(self):
        lines = faults(
            {"sync.interval_seconds": "never"},
            DATABASE_URL="mysql://db/name",
            OFFERS_BASE_URL="offers.test",
            JWT_SECRET="short",
            ADMIN_PASSWORD="admin",
            SYNC_WORKERS="0",
        )

        assert [line.split()[0] for line in lines] == [
            "DATABASE_URL",
            "OFFERS_BASE_URL",
            "JWT_SECRET",
            "SYNC_INTERVAL_SECONDS",
            "SYNC_WORKERS",
            "ADMIN_PASSWORD",
        ]

    @pytest.mark.parametrize(
        ("variable", "value", "name", "expected"),
        [
            (
                "OFFERS_BASE_URL",
                " http://offers.test:6544/api/v1/ ",
                "offers_base_url",
                "http://offers.test:6544/api/v1",
            ),
            ("OFFERS_BASE_URL", "http://[::1]:6544", "offers_base_url", "http://[::1]:6544"),
            ("OFFERS_REFRESH_TOKEN", " a-token\n", "offers_refresh_token", Secret("a-token")),
            ("OFFERS_TIMEOUT_SECONDS", "0.1", "offers_timeout_seconds", 0.1),
            ("JWT_SECRET", "é" * 16, "jwt_secret", Secret("é" * 16)),
            ("ADMIN_USERNAME", " boss ", "admin_username", "boss"),
            (
                "CORS_ORIGINS",
                "https://shop.example, http://localhost:3000 https://[::1]:8443",
                "cors_origins",
                {"https://shop.example", "http://localhost:3000", "https://[::1]:8443"},
            ),
            ("CORS_ORIGINS", " * ", "cors_origins", {"*"}),
            ("JWT_SECRET", "x" * 32 + "\r\n", "jwt_secret", Secret("x" * 32)),
            ("ADMIN_USERNAME", "rene\u0301", "admin_username", "ren\u00e9"),
            ("ADMIN_PASSWORD", " correct horse ", "admin_password", Secret(" correct horse ")),
            ("ADMIN_PASSWORD", "cafe\u0301 au lait", "admin_password", Secret("caf\u00e9 au lait")),
            ("ADMIN_PASSWORD", "from a file\n", "admin_password", Secret("from a file")),
            ("ADMIN_PASSWORD", "from a file\r\n", "admin_password", Secret("from a file")),
            ("ADMIN_PASSWORD", "x" * 8, "admin_password", Secret("x" * 8)),
            ("ADMIN_PASSWORD", "x" * 1000, "admin_password", Secret("x" * 1000)),
        ],
    )
    def test_an_allowed_edge_case_is_read(self, variable, value, name, expected):
        assert getattr(load(**{variable: value}), name) == expected


class TestProduction:
    PUBLIC = (
        ("JWT_SECRET", DEVELOPMENT_JWT_SECRET),
        ("OFFERS_REFRESH_TOKEN", DEVELOPMENT_REFRESH_TOKEN),
        ("ADMIN_PASSWORD", DEVELOPMENT_ADMIN_PASSWORD),
    )

    @pytest.mark.parametrize(("variable", "value"), PUBLIC)
    def test_it_refuses_published_development_secrets(self, variable, value):
        [line] = faults(**{variable: value})

        assert line == f"{variable} has its published development value; allowed in production: a secret of your own"

    @pytest.mark.parametrize(("variable", "value"), PUBLIC)
    def test_development_accepts_them(self, variable, value):
        settings = load(PRODUCTAGG_MODE="development", **{variable: value})

        assert getattr(settings, variable.lower()) == Secret(value)

    def test_it_refuses_admin_as_the_password(self):
        assert len(faults(ADMIN_PASSWORD="admin")) == 1
        assert len(faults(ADMIN_PASSWORD="admin\n")) == 1

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://productagg:productagg@postgres:5432/productagg",
            "postgres://somebody:productagg@db/name",
            "postgresql://db/name?user=productagg&password=productagg",
        ],
    )
    def test_it_refuses_the_published_database_password(self, url):
        [line] = faults(DATABASE_URL=url)

        assert (
            line == "DATABASE_URL has the published development password; allowed in production: a password of your own"
        )
        assert load(DATABASE_URL=url, PRODUCTAGG_MODE="development").database_url.drivername == "postgresql+psycopg2"

    def test_the_refused_database_password_is_that_of_the_compose_file(self, pytestconfig):
        compose = (pytestconfig.rootpath / "docker-compose.yml").read_text("utf-8")

        assert f"POSTGRES_PASSWORD: ${{POSTGRES_PASSWORD:-{DEVELOPMENT_DATABASE_PASSWORD}}}" in compose

    def test_it_refuses_to_start_without_a_refresh_token(self):
        [line] = faults(OFFERS_REFRESH_TOKEN="")

        assert line.startswith("OFFERS_REFRESH_TOKEN (ini: offers.refresh_token) is not set")

    def test_it_is_the_default_mode(self):
        assert load().mode == "production"


class TestTheIniFilesOfTheRepository:
    def ini(self, name, pytestconfig):
        return get_appsettings(str(pytestconfig.rootpath / name))

    def test_development_ini_is_complete(self, pytestconfig):
        settings = Settings.load(self.ini("development.ini", pytestconfig), environ={})

        assert settings == Settings(
            mode="development",
            database_url=URL.create("sqlite", database=str(pytestconfig.rootpath / "var" / "productagg.sqlite")),
            database_prepared=True,
            currency="EUR",
            offers_base_url="http://localhost:6544/api/v1",
            offers_refresh_token=Secret(DEVELOPMENT_REFRESH_TOKEN),
            offers_timeout_seconds=10.0,
            offers_currency=None,
            jwt_secret=Secret(DEVELOPMENT_JWT_SECRET),
            jwt_lifetime_seconds=300,
            login_attempts=10,
            login_attempts_per_address=50,
            login_attempts_per_account=200,
            login_window_seconds=900,
            admin_username="admin",
            admin_password=Secret(DEVELOPMENT_ADMIN_PASSWORD),
            public_url=None,
            cors_origins=None,
            sync_interval_seconds=60,
            sync_max_interval_seconds=None,
            sync_budget_seconds=55,
            sync_max_requests_per_second=None,
            sync_workers=8,
            sources_allow_private_networks=False,
            quarantine_factor=10.0,
            history_raw_days=90,
            offers_closed_days=366,
            changes_raw_days=7,
            shutdown_seconds=15.0,
            shutdown_delay_seconds=0.0,
            log_format="text",
        )

    def test_production_ini_needs_the_required_options_in_the_environment(self, pytestconfig):
        ini = self.ini("production.ini", pytestconfig)

        settings = Settings.load(ini, environ=REQUIRED)

        assert settings == load(LOG_FORMAT="json")
        with pytest.raises(SettingsError) as raised:
            Settings.load(ini, environ={})
        assert [line.split()[0] for line in str(raised.value).splitlines()] == list(REQUIRED)

    def test_the_sandbox_accepts_the_development_refresh_token(self):
        assert sandbox.DEVELOPMENT_REFRESH_TOKEN == DEVELOPMENT_REFRESH_TOKEN
