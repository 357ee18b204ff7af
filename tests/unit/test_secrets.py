"""The value of a secret is never shown: not in a message, a repr or a traceback."""

import dataclasses
import traceback

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from productagg.settings import OPTIONS, Secret, Settings, SettingsError

# Long and unlike any word in a message, so that it can only be there because somebody put it there.
secrets = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=6, max_size=80).map(
    lambda text: f"Zq{text}Xj"
)
ascii_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=80).map(
    lambda text: f"Zq{text}Xj"
)
SECRET_OPTIONS = [option for option in OPTIONS if option.secret]
GOOD = {
    "DATABASE_URL": "sqlite:///name.sqlite",
    "OFFERS_BASE_URL": "https://offers.test",
    "OFFERS_REFRESH_TOKEN": "a-refresh-token",
    "JWT_SECRET": "a secret of our own, of 32 bytes",
}


def shown(value):
    """Everything that could be printed of a value."""
    if isinstance(value, BaseException):
        return f"{value} {value!r} {value.args} {''.join(traceback.format_exception(value))}"
    return f"{value} {value!r} {value!s} {value:} {[value]} { ({'value': value}) }"


@given(secrets)
def test_a_secret_shows_itself_only_when_asked(value):
    secret = Secret(value)

    assert secret.reveal() == value
    assert value not in shown(secret)


@given(secrets, secrets)
def test_secrets_are_equal_exactly_if_their_values_are(one, two):
    assert (Secret(one) == Secret(two)) == (one == two)
    assert Secret(one) == Secret(one) != one
    assert hash(Secret(one)) == hash(Secret(one))


@given(token=ascii_secrets, key=secrets, password=secrets, database=ascii_secrets, in_query=st.booleans())
def test_the_settings_show_no_secret(token, key, password, database, in_query):
    assume(not set(database) & set("@:/?#%&+=[]"))
    settings = Settings.load(
        {},
        environ={
            **GOOD,
            "OFFERS_REFRESH_TOKEN": token,
            "JWT_SECRET": key * 8,
            "ADMIN_PASSWORD": password,
            "DATABASE_URL": f"postgres://db/name?password={database}" if in_query else f"postgres://u:{database}@db/n",
        },
    )

    assert settings.offers_refresh_token.reveal() == token
    for value in (token, key, password, database):
        assert value not in shown(settings)


@pytest.mark.parametrize("option", SECRET_OPTIONS, ids=lambda option: option.variable)
@pytest.mark.parametrize("spoil", ["{}", "\x00{}", "{}é", "{}\udce9", "mysql://u:{}@db/n", "postgres://u:{}@db:x/n"])
def test_no_fault_shows_a_secret(option, spoil):
    @given(secrets)
    def check(value):
        # Something else is wrong as well, so that there is always a message.
        environ = {**GOOD, option.variable: spoil.replace("{}", value), "SYNC_WORKERS": "none"}

        with pytest.raises(SettingsError) as raised:
            Settings.load({}, environ=environ)

        assert value not in shown(raised.value)

    check()


def test_every_option_that_holds_a_secret_is_marked_as_one():
    settings = Settings.load({}, environ={**GOOD, "ADMIN_PASSWORD": "a-password"})
    fields = {field.name for field in dataclasses.fields(settings)}
    secret_fields = {name for name in fields if isinstance(getattr(settings, name), Secret)}

    assert {option.name for option in SECRET_OPTIONS} == secret_fields | {"database_url"}
