"""Settings that cannot work together are refused at the start, by their names."""

import pytest
from pydantic import ValidationError

from app.settings import Settings
from dcpi_core.spec.errors import InvalidInput


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


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/"])
def test_a_bucket_is_named_without_a_path(url):
    assert Settings(storage_url=url).resolved_storage_url == "s3://bucket"


@pytest.mark.parametrize(
    "url", ["file:///srv/objects", "gs://bucket", "S3://bucket", "s3://", "s3://bucket/prefix"]
)
def test_a_storage_that_would_become_a_directory_of_that_name_is_refused(url):
    with pytest.raises(ValidationError, match="s3:// and the name of a bucket"):
        Settings(storage_url=url)


def test_directories_stay_where_they_are_when_the_service_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings(storage_url="objects").resolved_storage_url == str(tmp_path / "objects")
    assert Settings(home="there").resolved_storage_url == str(tmp_path / "there" / "objects")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DCPI_PORT", "abc", "DCPI_PORT: Input should be a valid integer"),
        ("DCPI_KEY_SECRET", "hunter2", "DCPI_KEY_SECRET: must have at least 32 characters"),
        ("DCPI_LEASE_SECONDS", "20", "the lease must be at least twice the heartbeat"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_without_its_value(
    monkeypatch, name, value, told
):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as caught:
        Settings.read()
    assert told in caught.value.detail
    assert "hunter2" not in str(caught.value)
