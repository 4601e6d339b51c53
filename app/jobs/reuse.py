"""Which earlier result answers a new job: that of the same spec, made by the same code."""

from sqlalchemy import bindparam, select

from app.models import Condensed, Job
from dcpi_core.code import code_digest

DIGITS = 40
"""As many of the digest as ``Condensed.code_version`` has room for."""


def code_version() -> str:
    """Which code makes results here. The version number does not change with each change of it.

    Read from the sources when it is asked for first: a hundredth of a second.
    """
    return code_digest()[:DIGITS]


TWIN = (
    select(Condensed.id)
    .join(Job, Job.id == Condensed.job_id)
    .where(Job.spec_digest == bindparam("digest"), Condensed.code_version == bindparam("version"))
    .where(*(table.tenant_id == bindparam("tenant_id") for table in (Job, Condensed)))
    .where(Job.finished_at.is_not(None))  # as its index says
    .order_by(Condensed.id.desc())
    .limit(1)
)
"""What the latest job of a tenant with this very spec has made, by code of this version."""
