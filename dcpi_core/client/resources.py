"""The parts of the REST API, each as one object of the client."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from dcpi_core.client import events
from dcpi_core.client.downloads import (
    OnBytes,
    download_file,
    ignore_bytes,
    manifest_last,
    refuse_foreign,
)
from dcpi_core.client.errors import ApiError
from dcpi_core.client.models import (
    Answer,
    Attempt,
    Component,
    Condensed,
    Dataset,
    Event,
    Job,
    Page,
    RemoteFile,
    Verification,
)
from dcpi_core.client.transport import Transport, json_of, parse
from dcpi_core.client.waiting import wait_for
from dcpi_core.spec.errors import NotFound
from dcpi_core.spec.estimate import Estimate
from dcpi_core.spec.job import JobRequest
from dcpi_core.spec.report import Report

A = TypeVar("A", bound=Answer)

UPLOAD_SECONDS = 3600.0  # the service decodes every image before it answers


class Collection(Generic[A]):
    """A list of things of one kind below one path."""

    def __init__(self, transport: Transport, path: str, model: type[A]) -> None:
        self._transport = transport
        self._path = path
        self._model = model

    def list(self, *, limit: int = 20, after: str | None = None, **filters: str) -> Page[A]:
        """One page of the list, newest first; ``page.last_id`` as ``after`` gives the next."""
        params = {"limit": limit, "after": after, **filters}
        return parse(Page[self._model], self._transport.get(self._path, params))  # type: ignore[name-defined]

    def each(self, **filters: str) -> Iterator[A]:
        """Everything, page by page."""
        after: str | None = None
        while True:
            page = self.list(limit=100, after=after, **filters)
            yield from page.data
            if not page.has_more or page.last_id is None:
                return
            after = page.last_id

    def get(self, item: str) -> A:
        """The one with this id or name; raises NotFound."""
        return parse(self._model, self._transport.get(self._at(item)))

    def delete(self, item: str) -> None:
        """Delete the one with this id or name for good; raises NotFound or Conflict."""
        path, http, attempts = self._at(item), self._transport.http, 0

        def build() -> httpx.Request:
            nonlocal attempts
            attempts += 1
            return http.build_request("DELETE", path)

        try:
            self._transport.send(build)
        except NotFound:
            if attempts == 1:  # otherwise an earlier one has deleted it, and its answer was lost
                raise

    def _at(self, item: str, *more: str) -> str:
        return "/".join([self._path, _segment(item), *more])


class Catalogue:
    """What of one kind can be asked for; it comes whole, in one answer."""

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path

    def list(self) -> Page[Component]:
        """Everything, with the JSON Schema of every option."""
        return parse(Page[Component], self._transport.get(self._path))

    def get(self, name: str) -> Component:
        """The one with this name; raises NotFound."""
        known = {component.name: component for component in self.list().data}
        if name not in known:
            names = ", ".join(known)
            raise NotFound(f"nothing is called {name!r} at {self._path}; there are {names}")
        return known[name]


class Jobs(Collection[Job]):
    """Condensation jobs."""

    def create(
        self, request: JobRequest | Mapping[str, Any], idempotency_key: str | None = None
    ) -> Job:
        """Queue a job. Repeating the call with the same key returns the same job.

        Raises:
            InvalidInput: the request is refused; ``problems`` name the fields.
        """
        body = request if isinstance(request, Mapping) else _body(request)
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        http = self._transport.http
        response = self._transport.send(
            lambda: http.build_request("POST", self._path, json=body, headers=headers)
        )
        return parse(Job, json_of(response))

    def estimate(self, request: JobRequest | Mapping[str, Any]) -> Estimate:
        """What a job would cost, also one on an upload; nothing is started.

        Raises:
            InvalidInput: the request is refused; ``problems`` name the fields.
        """
        path, http = f"{self._path}/estimate", self._transport.http
        body = request if isinstance(request, Mapping) else _body(request)
        response = self._transport.send(lambda: http.build_request("POST", path, json=body))
        return parse(Estimate, json_of(response))

    def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Who worked on a job and why each attempt ended, oldest first."""
        return parse(Page[Attempt], self._transport.get(self._at(job_id, "attempts"))).data

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; asking again does no harm."""
        return self._do(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Take a job out of work without losing what it did; raises Conflict if it has ended."""
        return self._do(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Put a paused job back into the queue; raises Conflict if it is not paused."""
        return self._do(job_id, "resume")

    def retry(self, job_id: str) -> Job:
        """Queue a job again that ended without a result; its ``starts_from`` says from where.

        Raises:
            Conflict: the job succeeded, or is paused.
        """
        return self._do(job_id, "retry")

    def _do(self, job_id: str, verb: str) -> Job:
        path, http = self._at(job_id, verb), self._transport.http
        response = self._transport.send(lambda: http.build_request("POST", path))
        return parse(Job, json_of(response))

    def events(self, job_id: str, *, follow: bool = False) -> Iterator[Event]:
        """What has happened so far, or with ``follow`` everything until the job is over."""
        read = events.live if follow else events.recorded
        return read(self._transport, self._at(job_id, "events"))

    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> Job:
        """Return the job once it is finished, whatever the outcome.

        A service that is away, overloaded or asks for patience is asked again for ten minutes.

        Raises:
            WaitedTooLong: it took more than ``timeout`` seconds.
            ServiceUnreachable: no answer in all that time; the job goes on regardless.
        """

        def look(held: int, patience: float) -> Job:
            return parse(Job, self._transport.watch(self._at(job_id), held, patience))

        return wait_for(look, timeout, on_change)


class Datasets(Collection[Dataset]):
    """Source datasets, published and uploaded."""

    def upload(
        self,
        archive: str | Path,
        *,
        name: str,
        seed: int | None = None,
        image_size: int | None = None,
    ) -> Dataset:
        """Upload an archive of class folders; ``seed`` splits off a test set if it has none.

        Raises:
            InvalidInput: the archive or the name is refused; ``problems`` name the entry.
            Conflict: another dataset has the name.
        """
        path, http = Path(archive), self._transport.http
        given = {"name": name, "seed": seed, "image_size": image_size}
        fields = {key: str(value) for key, value in given.items() if value is not None}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        with path.open("rb") as stream:

            def build() -> httpx.Request:
                stream.seek(0)
                upload = {"file": (path.name, stream, "application/octet-stream")}
                return http.build_request(
                    "POST",
                    self._path,
                    data=fields,
                    files=upload,
                    headers=headers,
                    timeout=httpx.Timeout(30.0, read=UPLOAD_SECONDS),
                )

            return parse(Dataset, json_of(self._transport.send(build)))


class CondensedDatasets(Collection[Condensed]):
    """Condensed datasets."""

    def files(self, condensed_id: str) -> tuple[RemoteFile, ...]:
        """The files of its bundle."""
        path = self._at(condensed_id, "files")
        files = Collection(self._transport, path, RemoteFile)
        return tuple(files.each())

    def report(self, condensed_id: str) -> Report:
        """Its accuracy report."""
        path = self._at(condensed_id, "files", "report.json")
        try:
            # Fields that a newer service adds are no error.
            return Report.model_validate(self._transport.get(path), extra="ignore")
        except ValidationError as error:
            raise ApiError("unexpected_answer", "report.json is not a report") from error

    def download(
        self, condensed_id: str, directory: str | Path, on_bytes: OnBytes = ignore_bytes
    ) -> Path:
        """Fetch the bundle into ``directory``; call it again to go on after an interruption.

        Raises:
            NotFound: no such dataset.
            InvalidInput: the directory holds something other than an earlier download of it.
            BundleError: a file arrived altered.
        """
        root, files = Path(directory), self.files(condensed_id)
        refuse_foreign(root, files)
        for file in manifest_last(files):
            url = self._at(condensed_id, "files", *map(_segment, file.path.split("/")))
            download_file(self._transport, url, file, root, on_bytes)
        return root

    def verify(
        self,
        condensed_id: str,
        *,
        repeats: int | None = None,
        idempotency_key: str | None = None,
    ) -> Verification:
        """Have the service train again on what it published; its ``job_id`` can be waited for.

        Args:
            condensed_id: which set.
            repeats: students of each arm, at most as many as its report has; default: 3 of them.
            idempotency_key: repeating the call with the same key starts nothing new.

        Raises:
            NotFound: no such dataset.
            InvalidInput: ``repeats`` is more than the report has.
        """
        path, http = self._at(condensed_id, "verifications"), self._transport.http
        body = {} if repeats is None else {"repeats": repeats}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        response = self._transport.send(
            lambda: http.build_request("POST", path, json=body, headers=headers)
        )
        return parse(Verification, json_of(response))

    def verifications(self, condensed_id: str) -> Collection[Verification]:
        """Its verifications, newest first."""
        path = self._at(condensed_id, "verifications")
        return Collection(self._transport, path, Verification)


def _body(request: JobRequest) -> dict[str, Any]:
    # Only what was set: defaults are the service's to fill in.
    return request.model_dump(mode="json", exclude_unset=True)


def _segment(text: str) -> str:
    """One path segment: an id cannot address anything else."""
    return quote(text, safe="")
