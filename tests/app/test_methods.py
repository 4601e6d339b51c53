"""Methods that a path does not have, and dates that are numbers: said as the document promises."""

import pytest

JOB = "job_01JD0000000000000000000000"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("OPTIONS", f"/v1/jobs/{JOB}", "DELETE, GET"),
        ("GET", "/v1/jobs/estimate", "POST"),
        ("DELETE", "/v1/jobs/estimate", "POST"),
        ("PATCH", "/v1/jobs/estimate", "POST"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_allow_names_every_method_of_the_path(client, method, path, allowed):
    response = client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize("moment", ["0", "0.5", "-1", "1e9", "1_000"])
def test_a_number_is_no_date(client, moment):
    response = client.get("/v1/jobs", params={"created_after": moment})
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["pointer"] == "/created_after"
    assert "such as 2026-01-31T12:00:00Z" in error["message"]


@pytest.mark.parametrize("moment", [4102444800, "4102444800"])
def test_a_key_expires_at_a_date(client, moment):
    body = {"name": "ci", "scopes": ["read"], "expires_at": moment}
    response = client.post("/v1/keys", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/expires_at"


def test_dates_are_taken_as_text(client):
    for moment in ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00", "2026-01-31"):
        assert client.get("/v1/jobs", params={"created_after": moment}).status_code == 200
