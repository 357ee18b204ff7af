"""JMESPath expressions: checked when a configuration is read, evaluated on what a source sends."""

from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
from jmespath.exceptions import EmptyExpressionError, JMESPathError, JMESPathTypeError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

MAX_LENGTH = 1000


class InvalidExpression(ValueError):
    """The text is not an expression. The message says why and where, for people."""


class EvaluationError(Exception):
    """An expression does not go with the JSON. The message begins with the expression's name, for people."""


class Expression:
    """A compiled expression. `name` is where it stands in the configuration, such as 'fields.price'."""

    def __init__(self, name: str, text: str) -> None:
        """Raises InvalidExpression."""
        self.name = name
        self._tree = _compile(text).parsed
        # jmespath's own search() makes one for each evaluation, which takes half of its time.
        self._interpreter = TreeInterpreter()

    def evaluate(self, value: Any) -> Any:
        """The result: JSON as Python reads it. Raises EvaluationError."""
        try:
            return self._interpreter.visit(self._tree, value)
        except JMESPathTypeError as error:
            expected = " or ".join(error.expected_types)
            reason = f"the function {error.function_name}() takes {expected}, not {error.actual_type}"
            raise EvaluationError(f"{self.name}: {reason}") from None
        except Exception as error:
            # jmespath lets through whatever Python's operators and functions raise for the values that they meet.
            raise EvaluationError(f"{self.name}: {type(error).__name__}: {str(error)[:200]}") from None


def json_type(value: Any) -> str:
    """The type of a value in JSON, with its article."""
    return _TYPES.get(type(value), "an expression")


_TYPES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a text",
    bool: "a boolean",
    int: "a whole number",
    float: "a number with a fraction",
    type(None): "null",
}


def _compile(text: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"must have at most {MAX_LENGTH} characters")
    try:
        compiled = jmespath.compile(text)
        for function in _functions(compiled.parsed):
            _check_function(function)
    except EmptyExpressionError:
        raise InvalidExpression("must not be empty") from None
    except JMESPathError as error:
        raise InvalidExpression(f"is not a JMESPath expression: {_fault(error, text)}") from None
    except RecursionError:
        raise InvalidExpression("is nested too deeply") from None
    return compiled


def _fault(error: Any, text: str) -> str:
    """What is wrong, and where: jmespath draws it in several lines."""
    position: int = error.lex_position
    if position >= len(text):
        return "it ends too early"
    reason = getattr(error, "message", None) or error.msg
    return f"{reason} at character {position + 1}"


def _functions(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The calls of functions in a syntax tree."""
    if node["type"] == "function_expression":
        yield node
    for child in node["children"]:
        # The children of a slice are numbers.
        if isinstance(child, dict):
            yield from _functions(child)


def _check_function(node: Mapping[str, Any]) -> None:
    """Refuse a function that is not there, or with another number of arguments: jmespath finds out on evaluation."""
    name, given = node["value"], len(node["children"])
    function = Functions.FUNCTION_TABLE.get(name)
    if function is None:
        raise InvalidExpression(f"there is no function {name}()")
    signature = function["signature"]
    expected = len(signature)
    is_variadic = bool(signature and signature[-1].get("variadic"))
    if given < expected or (given > expected and not is_variadic):
        least = "at least " if is_variadic else ""
        raise InvalidExpression(f"the function {name}() takes {least}{expected} arguments, not {given}")
