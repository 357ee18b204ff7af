"""/sources, /sources/{id} and /sources/{id}/test: where offers come from. For admins."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypedDict

from pyramid.response import Response

from productagg.accounts.policy import Permission
from productagg.api.core.answers import Answer, tagged
from productagg.api.core.errors import ErrorCode
from productagg.api.core.fields import uuid_parameter
from productagg.api.core.request import Request
from productagg.api.core.responses import JSON, PRIVATE, json_response, respond
from productagg.api.core.service import service
from productagg.api.core.validators import (
    MERGE_PATCH,
    invalid_members,
    json_body,
    no_query,
    path_uuid,
    preconditions,
)
from productagg.api.openapi.schemas import SOURCE, SOURCE_TEST
from productagg.sources.base import ProductFacts
from productagg.sources.registry import AdapterError, InvalidConfiguration
from productagg.sync import source_admin
from productagg.sync.source_admin import InvalidLocator, InvalidSource, SourceNotFound, SourceStatus
from productagg.sync.source_schema import NEW_SOURCE, SOURCE_CHANGE
from productagg.sync.source_schema import SOURCE_TEST as TEST_BODY
from productagg.sync.source_test import SourceReport

SOURCE_EXAMPLE = "019aa3f0-5d4c-7b32-8a61-1f2e3d4c5b6a"
SOURCE_ID = uuid_parameter("id", "a source's", "The source's id.", example=SOURCE_EXAMPLE)
source_in_path = path_uuid("id", SourceNotFound, ErrorCode.SOURCE_NOT_FOUND)


class SourceValues(TypedDict, total=False):
    """What can be changed."""

    name: str
    configuration: Mapping[str, Any]
    secret_variable: str | None
    interval_seconds: int | None
    requests_per_second: float | None
    enabled: bool


class NewSource(SourceValues):
    kind: str


class TestBody(TypedDict):
    locator: str | None


new_source = json_body(NEW_SOURCE, NewSource)
source_change = json_body(SOURCE_CHANGE, SourceValues, MERGE_PATCH)
test_body = json_body(TEST_BODY, TestBody)

sources = service("sources", "/sources", "Sources")
source = service("source", "/sources/{id}", "Sources", SOURCE_ID)
source_test = service("source_test", "/sources/{id}/test", "Sources", SOURCE_ID)


@sources.get(
    permission=Permission.MANAGE_SOURCES,
    validators=(no_query,),
    answers=tagged("The sources.", [SOURCE], "Cache-Control", "Vary"),
)
def list_sources(request: Request) -> Response:
    """All sources, by name, each with what it has and how its last requests went."""
    listed = [_source_json(stored) for stored in source_admin.listing(request.reader)]
    return json_response(listed, headers={"Vary": "Authorization"}, cache_control=PRIVATE)


@sources.post(
    permission=Permission.MANAGE_SOURCES,
    validators=(no_query, new_source),
    answers=(
        Answer(
            "The source. A whole document is fetched in the next sync run.",
            SOURCE,
            201,
            headers=("Location", "ETag"),
            links={SOURCE_ID: "$response.body#/id"},
        ),
    ),
    errors=(ErrorCode.DUPLICATE_NAME,),
)
def create_source(request: Request) -> Response:
    """Add a source. Then link products to it, or test it first."""
    with refusing_values(kind="/kind"):
        source_id = source_admin.create(request.dbsession, **new_source.value(request))
    stored = source_admin.get(request.dbsession, source_id)
    location = {"Location": request.route_url("source", id=source_id)}
    return json_response(_source_json(stored), version=stored.version, status=201, headers=location)


@source.get(
    permission=Permission.MANAGE_SOURCES,
    validators=(no_query, source_in_path),
    answers=tagged("The source.", SOURCE, "Cache-Control", "Vary", "Accept-Patch"),
)
def read_source(request: Request) -> Response:
    """One source."""
    stored = source_admin.get(request.reader, source_in_path.value(request))
    headers = {"Vary": "Authorization", "Accept-Patch": f"{JSON}, {MERGE_PATCH}"}
    return json_response(_source_json(stored), version=stored.version, headers=headers, cache_control=PRIVATE)


@source.patch(
    permission=Permission.MANAGE_SOURCES,
    validators=(source_in_path, no_query, preconditions, source_change),
    answers=(Answer("The source as it is now.", SOURCE, headers=("ETag",)),),
    errors=(ErrorCode.DUPLICATE_NAME, ErrorCode.SOURCE_FROM_SETTINGS),
)
def change_source(request: Request) -> Response:
    """Change some values of a source (JSON Merge Patch, RFC 7396); with If-Match, only of that version.

    With another configuration or secret, everything is fetched anew in the next sync run.
    """
    source_id, conditions = source_in_path.value(request), preconditions.value(request)
    with refusing_values(kind="/configuration"):
        source_admin.change(
            request.dbsession,
            source_id,
            versions=conditions.versions,
            other_than=conditions.other_than,
            unmodified_since=conditions.unmodified_since,
            merged=True,
            **source_change.value(request),
        )
    stored = source_admin.get(request.dbsession, source_id)
    return json_response(_source_json(stored), version=stored.version)


@source.delete(
    permission=Permission.MANAGE_SOURCES,
    validators=(source_in_path, no_query, preconditions),
    answers=(Answer("The source was removed.", None, 204),),
    errors=(ErrorCode.SOURCE_HAS_OFFERS, ErrorCode.SOURCE_FROM_SETTINGS),
)
def delete_source(request: Request) -> Response:
    """Remove a source that never had an offer, with its links to products; with If-Match, only that version."""
    conditions = preconditions.value(request)
    source_admin.remove(
        request.dbsession,
        source_in_path.value(request),
        versions=conditions.versions,
        other_than=conditions.other_than,
        unmodified_since=conditions.unmodified_since,
    )
    return respond(None, status=204)


@source_test.post(
    permission=Permission.MANAGE_SOURCES,
    validators=(source_in_path, no_query, test_body),
    answers=(Answer("What was understood, or why nothing was.", SOURCE_TEST),),
    errors=(ErrorCode.SOURCE_FROM_SETTINGS, ErrorCode.TEST_IN_PROGRESS),
)
def test_source(request: Request) -> Response:
    """Ask the source now and show what is understood; nothing is stored. It takes at most 20 seconds."""
    stored = source_admin.get(request.reader, source_in_path.value(request))
    with refusing_values():
        report = request.services.source_tester.test(stored, test_body.value(request)["locator"])
    return json_response(_report_json(report))


@contextmanager
def refusing_values(kind: str = "") -> Iterator[None]:
    """Turn what the domain functions refuse into Problems. `kind` is the pointer to what an AdapterError is about."""
    try:
        yield
    except InvalidSource as error:
        raise invalid_members(error.faults) from None
    except InvalidConfiguration as error:
        raise invalid_members(error.faults, "/configuration") from None
    except InvalidLocator as error:
        raise invalid_members({"locator": str(error)}) from None
    except AdapterError as error:
        raise invalid_members({"": str(error)}, kind) from None


def _source_json(stored: SourceStatus) -> dict[str, Any]:
    return {name: value for name, value in asdict(stored).items() if name != "version"}


def _report_json(report: SourceReport) -> dict[str, Any]:
    offers = [{**offer._asdict(), "product": (offer.product or ProductFacts())._asdict()} for offer in report.offers]
    remarks = {name: [remark._asdict() for remark in getattr(report, name)] for name in ("rejected", "remarks")}
    return {**asdict(report), "offers": offers, **remarks}
