"""What a child is told to do: read from the job's row, with everything fetched that it needs.

The child can reach neither SQL nor the storage, so whatever it works on lies in its workspace.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.condensed.registration import object_key
from app.jobs import repository
from app.jobs.kinds import Kind
from app.kit.db import reading
from app.models import Condensed, Dataset
from app.verifications import repository as verifications
from dcpi_core.spec.errors import DatasetUnavailable, NotFound
from dcpi_core.spec.job import JobSpec
from dcpi_core.spec.manifest import MANIFEST_NAME
from worker.places import Places
from worker.protocol import AnyOrder, CondenseOrder, VerifyOrder
from worker.tools import Tools


@dataclass(frozen=True)
class Orders:
    """Makes the order for an attempt at a job."""

    tools: Tools
    places: Places

    def make(self, job_id: str, workspace: Path) -> AnyOrder:
        """The order of a job of any kind.

        Raises:
            DatasetUnavailable: the storage no longer has the upload that the job is about.
            NotFound: what was to be verified was deleted.
            StorageError: the storage cannot be reached.
        """
        with reading(self.tools.sessions) as session:
            job = repository.get(session, job_id)
            upload = session.get(Dataset, job.dataset_id) if job.dataset_id else None
            verification = subject = None
            if job.kind == Kind.VERIFY:
                verification = verifications.of_job(session, job_id)
                subject = session.get_one(Condensed, verification.condensed_id)
        common: dict[str, Any] = {
            "spec": JobSpec.model_validate(job.spec),
            "shrink": job.shrink,
            "workspace": workspace,
            "assets": self.places.assets,
            "data_root": self.tools.settings.data_root,
            "dataset_file": upload and self._dataset(upload, workspace),
        }
        if verification is None or subject is None:
            return CondenseOrder(**common)
        return VerifyOrder(
            **common,
            bundle=self._bundle(subject, workspace / "published"),
            published_manifest=_digest_of(subject, MANIFEST_NAME),
            repeats=verification.repeats,
        )

    def _dataset(self, upload: Dataset, workspace: Path) -> Path:
        try:
            return self.places.dataset(self.tools.storage, upload.storage_key, workspace)
        except NotFound:
            raise DatasetUnavailable(
                f"the file of dataset {upload.name!r} is no longer in the storage; upload the "
                "archive again under another name and submit the job for that"
            ) from None

    def _bundle(self, subject: Condensed, directory: Path) -> Path:
        """The published files as the storage has them; one that it lost is missing here, too."""
        directory.mkdir()
        for file in subject.files:
            try:
                key = object_key(subject.id, file["path"])
                self.tools.storage.get_file(key, directory / file["path"])
            except NotFound:
                continue  # for the child to find, and to say which
        return directory


def _digest_of(subject: Condensed, path: str) -> str:
    """sha256 of a file at the time when it was published."""
    return next(str(file["sha256"]) for file in subject.files if file["path"] == path)
