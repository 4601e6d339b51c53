"""Celery's way in: a task is a door, the work is behind it."""

from functools import cache

from app.kit.broker import RUN_JOB
from app.settings import Settings
from worker.celery_app import celery_app
from worker.supervisor import Supervisor
from worker.tools import Tools


@cache
def _supervisor() -> Supervisor:
    return Supervisor(Tools.from_settings(Settings.read()))


@celery_app.task(name=RUN_JOB, ignore_result=True)
def run_job(job_id: str) -> None:
    """Run the job whose turn it is; safe to call any number of times."""
    _supervisor().run(job_id)
