"""The settings that keep a long job from being run twice, or lost."""

import pytest

from app.kit.broker import RUN_JOB
from app.settings import Settings
from worker import shutdown, tasks
from worker.celery_app import build


@pytest.fixture(scope="module")
def conf():
    return build(Settings(broker_url="redis://127.0.0.1:1/0")).conf


def test_messages_are_acknowledged_early(conf):
    assert conf.task_acks_late is False
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_disable_prefetch is True
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False


def test_only_json_is_spoken(conf):
    assert conf.task_serializer == "json"
    assert conf.accept_content == ["json"]


def test_sql_holds_the_results(conf):
    assert conf.result_backend is None
    assert conf.task_ignore_result is True


def test_jobs_run_one_at_a_time_in_a_process_that_answers_pings(conf):
    assert (conf.worker_pool, conf.worker_concurrency) == ("threads", 1)


def test_queues_are_declared(conf):
    assert [queue.name for queue in conf.task_queues] == ["gpu", "cpu"]
    assert conf.task_create_missing_queues is False
    own = build(Settings(queue="h200")).conf
    assert [queue.name for queue in own.task_queues] == ["h200", "gpu", "cpu"]


def test_the_broker_is_asked_as_the_bell_asks(conf):
    from app.kit.broker import Bell

    bell = Bell("redis://127.0.0.1:1/0")._celery.conf.broker_transport_options
    ours = conf.broker_transport_options
    assert ours["global_keyprefix"] == bell["global_keyprefix"] == "dcpi:"
    assert ours["visibility_timeout"] == 3600


def test_the_task_is_the_one_that_is_rung_for(monkeypatch):
    asked = []

    class Listening:
        run = asked.append

    monkeypatch.setattr(tasks, "_supervisor", Listening)
    assert tasks.run_job.name == RUN_JOB
    tasks.run_job("job_1")
    assert asked == ["job_1"]


def test_a_worker_that_shuts_down_says_so(monkeypatch):
    import threading

    from celery import signals

    monkeypatch.setattr(shutdown, "REQUESTED", threading.Event())
    signals.worker_shutting_down.send(sender="worker", sig="SIGTERM", how="Warm", exitcode=0)
    assert shutdown.REQUESTED.is_set()
