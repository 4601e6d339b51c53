"""Rules about datasets: the catalogue's and the uploaded ones."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.datasets import repository
from app.datasets.inspection import UploadOptions, inspect
from app.datasets.schemas import DatasetRead, read_published, read_upload
from app.kit.app_state import AppState
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.ids import new_id
from app.kit.pages import PageQuery
from app.kit.problems import TooLarge
from app.models import Dataset
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import Conflict, NotFound, UnknownName

COPY_BYTES = 1 << 20


def facts_of(session: Session, wanted: str) -> tuple[DatasetFacts, str | None]:
    """Facts about a dataset by name or id, and its id if it was uploaded.

    Raises:
        UnknownName: lists the datasets there are.
    """
    published = load_catalog().datasets
    if wanted in published:
        return published[wanted], None
    row = repository.by_id_or_name(session, wanted)
    if row is None:
        known = [*published, *repository.names(session)]
        raise UnknownName.of("dataset", wanted, known, "/dataset")
    return DatasetFacts.model_validate(row.facts), row.id


def find(session: Session, page: PageQuery) -> dict[str, Any]:
    """A page of datasets: the published ones on the first, then uploads, newest first."""
    found = page.page(repository.find(session, page), read_upload)
    if page.after is None:
        published = [read_published(facts) for facts in load_catalog().datasets.values()]
        found["data"] = published + found["data"]
    return found


def get(session: Session, wanted: str) -> DatasetRead:
    """One dataset by name or id; raises NotFound."""
    published = load_catalog().datasets
    if wanted in published:
        return read_published(published[wanted])
    row = repository.by_id_or_name(session, wanted)
    if row is None:
        raise NotFound(f"no dataset {wanted!r}")
    return read_upload(row)


def upload(state: AppState, body: BinaryIO, options: UploadOptions) -> DatasetRead:
    """Take in an archive: check it, store it, and only then make it known.

    Raises:
        InvalidInput: what is wrong with the archive or the options.
        Conflict: the name is taken.
    """
    _require_free(state, options.name)
    state.settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state.settings.home, prefix="upload-") as folder:
        archive, out = Path(folder) / "archive", Path(folder) / "dataset.safetensors"
        digest, size = _receive(body, archive, state.settings.max_upload_bytes)
        facts = inspect(archive, out, options, state.settings.inspect_seconds)
        dataset_id = new_id("ds")
        row = Dataset(
            id=dataset_id,
            name=options.name,
            facts=facts.model_dump(mode="json"),
            archive_sha256=digest,
            size_bytes=size,
            storage_key=f"datasets/{dataset_id}.safetensors",
            created_at=now(),
        )
        state.storage.put_file(row.storage_key, out)
    return _record(state, row)


def _record(state: AppState, row: Dataset) -> DatasetRead:
    try:
        with unit_of_work(state.sessions) as session:
            session.add(row)
            session.flush()
            return read_upload(row)
    except IntegrityError:
        state.storage.delete(row.storage_key)
        raise _taken(row.name) from None


def _require_free(state: AppState, name: str) -> None:
    with unit_of_work(state.sessions) as session:
        uploaded = repository.by_id_or_name(session, name) is not None
    if uploaded or name in load_catalog().datasets:
        raise _taken(name)


def _taken(name: str) -> Conflict:
    return Conflict(f"a dataset called {name!r} exists; choose another name")


def _receive(body: BinaryIO, path: Path, limit: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while chunk := body.read(COPY_BYTES):
            size += len(chunk)
            if size > limit:
                raise TooLarge.at("/file", f"the archive is larger than {limit} bytes")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest(), size
