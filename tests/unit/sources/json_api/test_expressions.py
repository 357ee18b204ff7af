"""Expressions: what is wrong with them is said when they are configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from productagg.sources.json_api.expressions import EvaluationError, Expression, InvalidExpression

PARTS = [
    "a",
    "b.c",
    "[]",
    "[?",
    "]",
    "(",
    ")",
    "`1`",
    "'x'",
    "&",
    "@",
    "|",
    "&&",
    "==",
    "<",
    "length(",
    "max(",
    ",",
    "*",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from("abc"), children),
    max_leaves=8,
)

INVALID = {
    "": "must not be empty",
    "a b": "Unexpected token: b at character 3",
    "a.b[?x==]": "invalid token at character 9",
    "a =b": "Unknown token '=' at character 3",
    "`x": "Unclosed ` delimiter at character 1",
    "a[": "it ends too early",
    "a.": "it ends too early",
    "tostring(id)": "there is no function tostring()",
    "a[?b && has(c)]": "there is no function has()",
    "length(a, b)": "the function length() takes 1 arguments, not 2",
    "not_null()": "the function not_null() takes at least 1 arguments, not 0",
    "(" * 500: "nested too deeply",
    "a" * 1001: "must have at most 1000 characters",
}


@pytest.mark.parametrize(("text", "reason"), INVALID.items(), ids=lambda text: text[:20])
def test_an_expression_that_cannot_work_is_refused_with_its_reason_and_position(text, reason):
    with pytest.raises(InvalidExpression) as error:
        Expression("fields.price", text)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    "text", ["a[0:2]", "join(', ', a[*].b)", "not_null(a, b, `1`)", "a.{b: c}", "[?a > `1`] | [0]"]
)
def test_an_expression_that_can_work_is_compiled(text):
    Expression("fields.price", text)


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("length(a)", {"a": 1}, "the function length() takes string or array or object, not number"),
        ("a < b", {"a": 1, "b": "x"}, "TypeError"),
        ("contains(a, b)", {"a": "x", "b": 1}, "TypeError"),
        ("ceil(to_number(a))", {"a": "1e999"}, "OverflowError"),
        ("|".join("a" * 500), {}, "RecursionError"),
    ],
)
def test_what_an_expression_cannot_do_is_an_error_with_its_name(text, value, reason):
    with pytest.raises(EvaluationError) as error:
        Expression("fields.price", text).evaluate(value)
    assert str(error.value).startswith("fields.price: ")
    assert reason in str(error.value)


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), JSON)
def test_any_text_is_refused_or_evaluated_or_an_error_with_a_name(text, value):
    try:
        Expression("total", text).evaluate(value)
    except (InvalidExpression, EvaluationError) as error:
        assert str(error)
