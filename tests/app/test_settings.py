"""Settings that cannot work together are refused at the start, by their names."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.mark.parametrize(
    ("heartbeat", "lease", "good"),
    [(15, 60, True), (5, 10, True), (5.1, 10, False), (60, 60, False)],
)
def test_a_lease_outlasts_a_lost_heartbeat(heartbeat, lease, good):
    if good:
        Settings(heartbeat_seconds=heartbeat, lease_seconds=lease)
        return
    with pytest.raises(ValidationError, match="twice the heartbeat") as caught:
        Settings(heartbeat_seconds=heartbeat, lease_seconds=lease)
    assert "DCPI_HEARTBEAT_SECONDS" in str(caught.value)


def test_an_empty_key_is_none():
    found = Settings(s3_access_key_id="", s3_secret_access_key="")
    assert (found.s3_access_key_id, found.s3_secret_access_key) == (None, None)


def test_a_refusal_repeats_no_secret():
    url = "postgresql://dcpi:hunter2@host/db"
    with pytest.raises(ValidationError) as caught:
        Settings(heartbeat_seconds=60, database_url=url)
    assert "hunter2" not in str(caught.value)


def test_half_a_key_is_refused():
    with pytest.raises(ValidationError, match="DCPI_S3_SECRET_ACCESS_KEY"):
        Settings(s3_access_key_id="id", s3_secret_access_key="")
