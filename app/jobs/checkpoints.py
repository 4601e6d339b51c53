"""Where the checkpoints of jobs lie in the storage; the worker writes them, a retry looks here."""

from app.kit.storage import Storage

PREFIX = "checkpoints"
FILE = "checkpoint.safetensors"


def folder_of(job_id: str) -> str:
    """Below which everything about a job's checkpoint is stored."""
    return f"{PREFIX}/{job_id}"


def key_of(job_id: str) -> str:
    """Where the checkpoint of a job is stored."""
    return f"{folder_of(job_id)}/{FILE}"


def job_of(key: str) -> str:
    """The job whose checkpoint is stored there."""
    return key.split("/")[1]


def stored(storage: Storage, job_id: str) -> bool:
    """Whether there is one to go on from."""
    return storage.exists(key_of(job_id))
