"""The REST interface breaks nobody: compared with a golden document, and with planted breaks.

The golden is copied from ``openapi.json`` at a release. A break that is meant takes a new major
version of the path, not a new golden.
"""

import copy
import json

import pytest

from app.openapi import render_document
from tests.architecture.compatibility import breaking_changes


@pytest.fixture(scope="module")
def golden(root):
    return json.loads((root / "tests" / "golden" / "openapi.json").read_text())


def test_nothing_breaks_the_clients_there_are(golden):
    assert breaking_changes(golden, render_document()) == []


def test_a_document_is_compatible_with_itself(golden):
    assert len(golden["paths"]) >= 18
    assert breaking_changes(golden, copy.deepcopy(golden)) == []


def job(document):
    return document["components"]["schemas"]["JobRead"]


def wanted_key(document):
    return document["components"]["schemas"]["KeyCreate"]


def parameter(document, name):
    return next(p for p in document["paths"]["/v1/jobs"]["get"]["parameters"] if p["name"] == name)


PLANTED = {
    "an operation less": (lambda d: d["paths"]["/v1/jobs"].pop("get"), "the operation is gone"),
    "a path less": (lambda d: d["paths"].pop("/v1/methods"), "the operation is gone"),
    "another operationId": (
        lambda d: d["paths"]["/v1/jobs"]["get"].update(operationId="jobs"),
        "operationId",
    ),
    "a field less in an answer": (
        lambda d: job(d)["properties"].pop("estimate"),
        ".estimate is gone",
    ),
    "a field that may be missing": (
        lambda d: job(d)["required"].remove("status"),
        ".status may be missing",
    ),
    "an answer that may be null": (
        lambda d: job(d)["properties"]["attempt"].update(type=["integer", "null"]),
        ".attempt may be null",
    ),
    "an answer of another type": (
        lambda d: job(d)["properties"]["attempt"].update(type="string"),
        ".attempt may be string",
    ),
    "a field less deep in an answer": (
        lambda d: d["components"]["schemas"]["JobResult"]["properties"].pop("condensed_id"),
        ".result.condensed_id is gone",
    ),
    "a new required field": (
        lambda d: wanted_key(d)["required"].append("scopes"),
        ".scopes is required now",
    ),
    "a field that is no longer taken": (
        lambda d: wanted_key(d)["properties"].pop("expires_at"),
        ".expires_at is no longer taken",
    ),
    "a narrowed enumeration": (
        lambda d: d["components"]["schemas"]["Scope"]["enum"].remove("admin"),
        "may no longer be 'admin'",
    ),
    "an enumeration where anything went": (
        lambda d: wanted_key(d)["properties"]["name"].update(enum=["ci"]),
        "may no longer be any value",
    ),
    "a shorter text": (
        lambda d: wanted_key(d)["properties"]["name"].update(maxLength=10),
        "tighter maxLength",
    ),
    "a type less": (
        lambda d: wanted_key(d)["properties"]["expires_at"]["anyOf"].pop(),
        ".expires_at may no longer be null",
    ),
    "a parameter less": (
        lambda d: d["paths"]["/v1/jobs"]["get"]["parameters"].remove(parameter(d, "dataset")),
        "parameter dataset is gone",
    ),
    "a parameter that is required now": (
        lambda d: parameter(d, "dataset").update(required=True),
        "parameter dataset is required",
    ),
    "a lower limit of a parameter": (
        lambda d: parameter(d, "limit")["schema"].update(maximum=50),
        "parameter limit has a tighter maximum",
    ),
    "another pattern": (
        lambda d: d["paths"]["/v1/jobs/{job_id}"]["get"]["parameters"][0]["schema"].update(
            pattern="^x$"
        ),
        "parameter job_id has another pattern",
    ),
    "another status": (
        lambda d: d["paths"]["/v1/jobs"]["post"]["responses"].pop("202"),
        "answer 202 is gone",
    ),
    "another media type": (
        lambda d: d["paths"]["/v1/condensed/{condensed_id}/preview.png"]["get"]["responses"]["200"][
            "content"
        ].pop("image/png"),
        "no longer comes as image/png",
    ),
    "a body of another type": (
        lambda d: d["paths"]["/v1/keys"]["post"]["requestBody"]["content"].pop("application/json"),
        "no longer read",
    ),
    "a key where none was needed": (
        lambda d: d["paths"]["/healthz"]["get"].update(security=[{"apiKey": []}]),
        "takes a key now",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_break_is_seen(name, golden):
    plant, expected = PLANTED[name]
    changed = copy.deepcopy(golden)
    plant(changed)
    found = breaking_changes(golden, changed)
    assert found
    assert all(expected in line for line in found), found


def add_operation(document):
    document["paths"]["/v1/new"] = document["paths"]["/v1/methods"]


@pytest.mark.parametrize(
    "change",
    [
        add_operation,
        lambda d: job(d)["properties"].update(new={"type": "string"}),
        lambda d: wanted_key(d)["properties"].update(new={"type": "string"}),
        lambda d: wanted_key(d)["properties"]["name"].update(maxLength=100),
        lambda d: d["components"]["schemas"]["Scope"]["enum"].append("billing"),
        lambda d: d["components"]["schemas"]["Status"]["enum"].append("paused"),
        lambda d: wanted_key(d)["required"].remove("name"),
        lambda d: job(d)["properties"]["attempt"].update(description="other words"),
    ],
)
def test_what_adds_breaks_nothing(change, golden):
    changed = copy.deepcopy(golden)
    change(changed)
    assert changed != golden
    assert breaking_changes(golden, changed) == []
