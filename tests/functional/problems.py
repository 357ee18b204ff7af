"""The one place that says what an error answer looks like; every test of an error goes through it."""

import re

from productagg.api.core.errors import ErrorCode


def assert_problem(answer, code, errors=None):
    """`answer` is the RFC 9457 problem `code` and nothing else.

    `errors`, if given, are the pointers (or query parameters) at fault, in any order, each with what is wrong with it:
    the exact text, or None for any text. Returns the problem.
    """
    status, title = next((known.status, known.problem_title) for known in ErrorCode if known == code)
    assert (answer.status_int, answer.content_type) == (status, "application/problem+json"), answer
    problem = answer.json
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["title"] == title
    assert problem["type"] == f"/problems/{code}"
    assert isinstance(problem["detail"], str) and problem["detail"].strip()
    assert set(problem) <= {"type", "title", "status", "detail", "code", "errors"}
    assert not re.search(r"<html|Traceback|File \"|psycopg2|sqlalchemy|\(Background on", answer.text, re.IGNORECASE)
    assert answer.headers["X-Request-ID"]
    assert ("WWW-Authenticate" in answer.headers) == (status in (401, 403))
    assert ("Allow" in answer.headers) == (status == 405)
    assert ("errors" in problem) == (code == "invalid-data" or errors is not None)
    for error in problem.get("errors", ()):
        assert set(error) in ({"pointer", "detail"}, {"parameter", "detail"})
        assert error["detail"]
    if errors is not None:
        found = {error.get("pointer", error.get("parameter")): error["detail"] for error in problem["errors"]}
        assert found.keys() == errors.keys()
        assert found == {where: text or found[where] for where, text in errors.items()}
    return problem
