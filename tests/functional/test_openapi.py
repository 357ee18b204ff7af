"""GET /openapi.json: the contract is complete, valid OpenAPI, and cacheable."""

import re

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pyramid.response import Response

from productagg.api import SERVICES
from productagg.api.core.answers import Answer
from productagg.api.core.errors import ErrorCode
from productagg.api.core.service import PUBLIC, service
from productagg.api.core.validators import no_query
from productagg.api.openapi.document import document
from productagg.api.openapi.members import MEMBERS
from productagg.catalog import product_members
from tests.databases import only_sqlite

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def contract():
    return document(SERVICES)


@pytest.fixture
def services():
    """Make services that are in no application: `services(path)`, `services(path, answers)`."""

    def make(path, answers=(), *parameters):
        made = service("made", path, "About", *parameters)

        @made.get(permission=PUBLIC, validators=(no_query,), answers=answers)
        def look(_request):
            """Look."""

        return (made,)

    return make


def operations(contract):
    return {
        (method, path): operation
        for path, item in contract["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolve(contract, value):
    while "$ref" in value:
        found = contract
        for key in value["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        value = found
    return value


# Pages for browsers, not part of the contract.
PAGES = {("get", "/"), ("get", "/docs"), ("get", "/docs/{name}")}


@only_sqlite
def test_every_method_of_every_service_that_the_application_has_is_in_it(client):
    registered = {
        (method.lower(), path)
        for path, each in client.app.registry.cornice_services.items()
        for method in each.defined_methods
        # HEAD goes with GET, and OPTIONS with everything.
        if method not in ("HEAD", "OPTIONS")
    }

    assert registered == operations(client.get("/openapi.json").json).keys() | PAGES


@only_sqlite
def test_no_route_goes_round_the_services(client, contract):
    routes = {route.pattern for route in client.app.routes_mapper.get_routes()}

    assert routes == contract["paths"].keys() | {path for _, path in PAGES}


def test_it_is_valid_openapi_3_1(contract):
    assert contract["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(contract).validate()


def test_every_operation_has_a_name_a_text_and_a_heading(contract):
    names = [operation["operationId"] for operation in operations(contract).values()]

    assert len(names) == len(set(names))
    for operation in operations(contract).values():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"])
        assert operation["summary"] and operation["description"]
        assert set(operation["tags"]) <= {tag["name"] for tag in contract["tags"]}


def test_every_answer_has_a_schema_and_an_example_that_fits_it(contract, subtests):
    for (method, path), operation in operations(contract).items():
        for status, answer in operation["responses"].items():
            answer = resolve(contract, answer)
            with subtests.test(f"{method} {path} {status}"):
                assert ("content" in answer) == (status != "204")
                assert "X-Request-ID" in answer["headers"]
                for media_type, content in answer.get("content", {}).items():
                    examples = [each["value"] for each in content.get("examples", {}).values()]
                    for example in examples or [content["example"]]:
                        assert example or media_type != "application/json"
                        fits(contract, content["schema"], example)


def test_every_body_and_parameter_has_a_description_and_an_example_that_fits(contract, subtests):
    for (method, path), operation in operations(contract).items():
        with subtests.test(f"{method} {path}"):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                fits(contract, content["schema"], content["example"])
                schema = resolve(contract, content["schema"])
                schema = resolve(contract, schema.get("items", schema))
                assert all(each["description"] for each in schema["properties"].values())
            for parameter in (*operation.get("parameters", ()), *contract["paths"][path]["parameters"]):
                parameter = resolve(contract, parameter)
                assert parameter["description"]
                if "example" in parameter:
                    fits(contract, parameter["schema"], parameter["example"])


def fits(contract, schema, value):
    """Members that the schema does not name do not fit either."""
    closed = {name: {**each, "additionalProperties": False} for name, each in contract["components"]["schemas"].items()}
    OAS31Validator({**schema, "components": {"schemas": closed}}).validate(value)


def test_every_member_has_a_description(contract):
    for name, schema in contract["components"]["schemas"].items():
        for member, one in schema.get("properties", {}).items():
            assert one["description"], f"{name}.{member}"


def test_every_described_member_is_in_a_schema(contract):
    members = {
        key
        for name, schema in contract["components"]["schemas"].items()
        for member in schema.get("properties", ())
        for key in (f"{name}.{member}" if f"{name}.{member}" in MEMBERS else member,)
    }

    assert MEMBERS.keys() <= members


def test_every_error_code_that_a_view_can_answer_with_is_in_it(contract):
    found = {
        code: (example["value"]["status"], example["value"]["title"])
        for response in contract["components"]["responses"].values()
        for code, example in response["content"]["application/problem+json"]["examples"].items()
    }

    # The introduction names the code that belongs to no operation.
    elsewhere = {"method-not-allowed"}
    assert found == {code: (code.status, code.problem_title) for code in ErrorCode if code not in elsewhere}
    assert all(f"`{code}`" in contract["info"]["description"] for code in elsewhere)


def test_what_needs_a_token_says_so(contract):
    guarded = {each: operation.get("security") for each, operation in operations(contract).items()}

    assert contract["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert guarded[("post", "/products")] == [{"bearer": []}]
    assert guarded[("get", "/sync-runs")] == [{"bearer": []}]
    # They do not even say that a token is optional: many generators would require it.
    assert guarded[("get", "/products/{id}")] is guarded[("get", "/products")] is None


def test_every_operation_answers_in_one_media_type_and_never_without_a_body_beside(contract, subtests):
    for (method, path), operation in operations(contract).items():
        with subtests.test(f"{method} {path}"):
            successes = [each for status, each in operation["responses"].items() if status < "400"]
            assert all(status.startswith(("2", "4", "5")) for status in operation["responses"])
            assert [len(each.get("content", {})) for each in successes] in ([1], [1, 1], [0])


def test_answers_have_all_members_but_a_few(contract):
    missing = {
        name: set(schema["properties"]) - set(schema["required"])
        for name, schema in contract["components"]["schemas"].items()
        if schema["type"] == "object" and schema.get("additionalProperties") is not False  # a request's body
    }

    assert {name: members for name, members in missing.items() if members} == {
        "PartialProduct": set(product_members.MEMBERS) - {"id"},
        "Product": {"sync"},
        "Problem": {"errors"},
        "Fault": {"pointer", "parameter"},
    }


def test_a_series_of_steps_and_one_of_hours_days_or_weeks_are_told_apart_by_their_resolution(contract):
    for path in ("/products/{id}/prices", "/products/{id}/offers/{offer_id}/prices"):
        answer = operations(contract)[("get", path)]["responses"]["200"]["content"]["application/json"]["schema"]
        steps, buckets = (resolve(contract, each)["properties"] for each in answer["oneOf"])
        assert (steps["resolution"]["enum"], buckets["resolution"]["enum"]) == (["raw"], ["hour", "day", "week"])
        assert "open" not in resolve(contract, steps["points"]["items"])["properties"]
        assert "open" in resolve(contract, buckets["points"]["items"])["required"]


def test_a_created_product_of_a_batch_and_one_that_was_not_are_told_apart_by_their_status(contract):
    answers = operations(contract)[("post", "/products/batch")]["responses"]
    created, not_created = (
        resolve(contract, each) for each in answers["207"]["content"]["application/json"]["schema"]["items"]["oneOf"]
    )

    assert resolve(contract, answers["201"]["content"]["application/json"]["schema"]["items"]) == created
    assert created["properties"]["status"]["enum"] == [201]
    assert not_created["properties"]["status"]["enum"] == [409, 422]
    assert created["required"] == ["status", "id", "location"]
    assert not_created["required"] == ["status", "problem"]


def test_the_code_of_a_problem_is_one_of_the_codes_that_there_are(contract):
    schemas = contract["components"]["schemas"]

    assert resolve(contract, schemas["Problem"]["properties"]["code"])["enum"] == list(ErrorCode)
    assert schemas["ProblemExplanation"]["properties"]["code"]["$ref"] == "#/components/schemas/ProblemCode"


def test_lists_in_the_query_are_arrays_with_commas_unless_their_texts_may_contain_commas(contract):
    arrays = {
        (path, parameter["name"]): (parameter["style"], parameter["explode"], parameter["schema"]["items"]["type"])
        for (_, path), operation in operations(contract).items()
        for parameter in operation.get("parameters", ())
        if parameter.get("schema", {}).get("type") == "array"
    }

    lists = [("/products", "ids"), ("/products/partial", "fields"), ("/products/partial", "ids")]
    texts = [(path, name) for path in ("/products", "/products/partial") for name in ("brand", "category")]
    assert arrays == dict.fromkeys(lists, ("form", False, "string")) | dict.fromkeys(texts, ("form", True, "string"))


def test_head_of_the_changes_is_an_operation_without_bodies(contract):
    get, head = (contract["paths"]["/changes"][method] for method in ("get", "head"))

    assert head["operationId"] == "read_last_sequence"
    assert head["responses"]["200"]["headers"] == get["responses"]["200"]["headers"]
    assert head["responses"].keys() == get["responses"].keys()
    assert not any("content" in answer for answer in head["responses"].values())


def test_a_created_product_leads_to_everything_that_can_be_done_with_it(contract):
    links = operations(contract)[("post", "/products")]["responses"]["201"]["links"]

    assert {"read_product", "change_product", "delete_product", "read_verdict"} <= links.keys()
    assert links["read_product"]["parameters"] == {"id": "$response.body#/id"}


def test_a_method_that_declares_no_answer_does_not_start(services):
    with pytest.raises(ValueError, match="look declares no answers"):
        services("/made")


def test_a_path_whose_parameters_are_not_declared_does_not_start(services):
    with pytest.raises(ValueError, match=r"/made/\{id\} declares the path parameters"):
        services("/made/{id}", (Answer("It.", [], 204),))


def test_a_type_without_a_schema_is_refused(services):
    with pytest.raises(TypeError, match="no JSON Schema"):
        document(services("/made", (Answer("It.", Response),)))


@only_sqlite
def test_a_cache_may_keep_it_and_ask_whether_it_is_still_good(client):
    first = client.get("/openapi.json")
    again = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})

    assert first.content_type == "application/json"
    assert first.headers["Cache-Control"] == "public, max-age=60"
    assert (again.status_int, again.body) == (304, b"")
