"""Rules about datasets: the catalogue's and the uploaded ones."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import quotas
from app.datasets import repository, uploads
from app.datasets.inspection import UploadOptions, inspect
from app.datasets.schemas import DatasetRead, read_published, read_upload
from app.kit.app_state import AppState
from app.kit.clock import now
from app.kit.db import KEPT, reading, unit_of_work
from app.kit.erasure import erase, take_back
from app.kit.idempotency import recall, remember
from app.kit.ids import new_id
from app.kit.pages import PageQuery
from app.kit.problems import TooLarge
from app.kit.storage import StorageError
from app.models import Dataset
from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.dataset import DatasetFacts
from dcpi_core.spec.errors import Conflict, DcpiError, InvalidInput, NotFound, UnknownName

COPY_BYTES = 1 << 20
STORING = timedelta(hours=12)
"""In which a dataset is stored and recorded; a file that has no record by then is deleted."""
OPERATION = "uploadDataset"

_ID = re.compile(r"ds_[0-9A-Z]{26}")


def facts_of(session: Session, wanted: str) -> tuple[DatasetFacts, str | None]:
    """Facts about a dataset by name or id, and its id if it was uploaded.

    An upload is not deleted before the session's commit.

    Raises:
        UnknownName: lists the datasets there are.
    """
    published = load_catalog().datasets
    if wanted in published:
        return published[wanted], None
    row = repository.by_id_or_name(session, wanted, lock=KEPT)
    if row is None:
        known = [*published, *repository.names(session)]
        raise UnknownName.of("dataset", wanted, known, "/dataset")
    return DatasetFacts.model_validate(row.facts), row.id


def find(session: Session, page: PageQuery) -> dict[str, Any]:
    """A page of datasets: the published ones come first, then uploads."""
    published = [read_published(facts) for facts in load_catalog().datasets.values()]
    names = [dataset.id for dataset in published]
    if page.after in names:
        published = published[names.index(page.after) + 1 :]
        page = page.model_copy(update={"after": None})
    elif page.after is not None:
        published = []
    uploads = [read_upload(row) for row in repository.find(session, page)]
    return page.page([*published, *uploads], lambda dataset: dataset)


def get(session: Session, wanted: str) -> DatasetRead:
    """One dataset by name or id; raises NotFound."""
    published = load_catalog().datasets
    if wanted in published:
        return read_published(published[wanted])
    row = repository.by_id_or_name(session, wanted)
    if row is None:
        raise NotFound(f"no dataset {wanted!r}")
    return read_upload(row)


def upload(
    state: AppState, body: BinaryIO, options: UploadOptions, key: str | None
) -> tuple[DatasetRead, bool]:
    """Take in an archive: check it, store it, and only then make it known.

    Returns:
        The dataset, and whether it is the answer to an earlier request with the same key.

    Raises:
        InvalidInput: what is wrong with the archive or the options.
        Conflict: the name is taken.
        QuotaExceeded: the tenant may not fill so much of the storage.
    """
    if _ID.fullmatch(options.name):
        raise InvalidInput.at("/name", "a name must not look like the id of an upload")
    # Here too, since this machine may have no worker to keep house.
    uploads.sweep(state.settings.home, state.settings.inspect_seconds)
    with uploads.folder(state.settings.home) as folder:
        archive, out = folder / "archive", folder / "dataset.safetensors"
        digest, size = _receive(body, archive, state.settings.max_upload_bytes)
        asked = asdict(options) | {"sha256": digest}
        with reading(state.sessions) as session:
            known = recall(session, OPERATION, key, asked)
            if known is not None:
                return DatasetRead.model_validate(known), True
            _require_free(session, options.name)
            quotas.require_bytes(session, quotas.lock(session), 1)  # before the long work
        facts = inspect(archive, out, options, state.settings.inspect_seconds)
        dataset_id = new_id("ds")
        row = Dataset(
            id=dataset_id,
            name=options.name,
            facts=facts.model_dump(mode="json"),
            archive_sha256=digest,
            size_bytes=size,
            stored_bytes=out.stat().st_size,
            storage_key=f"datasets/{dataset_id}.safetensors",
            created_at=now(),
        )
        return _keep(state, row, out, lambda session: _record(session, row, key, asked))


def _keep(
    state: AppState, row: Dataset, file: Path, record: Callable[[Session], tuple[DatasetRead, bool]]
) -> tuple[DatasetRead, bool]:
    """Store the file, then record it; a refusal, or a twin that was first, makes it superfluous.

    Any other error leaves the file: whether the database took the record is not known then. If it
    did not, the note is still there that was written before the first byte was stored.
    """
    key = row.storage_key
    with unit_of_work(state.sessions) as session:
        erase(session, key, after=STORING)
    state.storage.put_file(key, file)
    try:
        with unit_of_work(state.sessions) as session:
            found, repeated = record(session)
            if not repeated and not take_back(session, key):
                raise StorageError(f"{key} was not stored within {STORING}")
    except (IntegrityError, DcpiError, StorageError) as error:
        state.storage.delete(key)
        if isinstance(error, IntegrityError):
            raise _taken(row.name) from None
        raise
    if repeated:
        state.storage.delete(key)
    return found, repeated


def _record(
    session: Session, row: Dataset, key: str | None, asked: dict[str, Any]
) -> tuple[DatasetRead, bool]:
    shown = read_upload(row)
    known = remember(session, OPERATION, key, asked, shown.model_dump(mode="json"))
    if known is not None:
        return DatasetRead.model_validate(known), True
    quotas.require_bytes(session, quotas.lock(session), row.stored_bytes)
    session.add(row)
    session.flush()
    return shown, False


def _require_free(session: Session, name: str) -> None:
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
