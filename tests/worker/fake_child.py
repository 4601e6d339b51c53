"""Plays the runner's part: ``fake_child.py SCENE FOLDER``, an order on stdin, lines on stdout.

Plain Python without imports of ours, so that it starts at once and cannot share our mistakes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SCENE, FOLDER = sys.argv[1], Path(sys.argv[2])
CHECKPOINT = "checkpoint.safetensors"


def say(kind, **fields):
    print(json.dumps({"type": kind, **fields}), flush=True)


def step(phase, number, total):
    say("progress", phase=phase, step=number, total_steps=total, message="m", metrics={"loss": 0.5})


def write_checkpoint(workspace, text):
    temporary = workspace / "temporary"
    temporary.write_text(text)
    temporary.replace(workspace / CHECKPOINT)


def finish(workspace):
    for phase in ("prepare", "base", "privileged", "evaluate", "package"):
        for number in range(1, 21):
            step(phase, number, 20)
    shutil.copytree(FOLDER / "bundle", workspace / "bundle")
    say("done", made=str(workspace / "bundle"))


def wait_for_term(workspace):
    """Stop in good order, as the pipeline does."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    step("base", 1, 20)
    while not asked:
        time.sleep(0.01)
    write_checkpoint(workspace, "stopped at step 1")
    sys.exit(75)


def deaf(_workspace):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    step("base", 1, 20)
    time.sleep(60)


def hang(_workspace):
    step("base", 1, 20)
    time.sleep(60)


def family(_workspace):
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    say("log", message=f"grandchild {grandchild.pid}")
    say("error", code="training_diverged", detail="and the grandchild stays")
    sys.exit(2)


def deserter(_workspace):
    """Somebody it started leaves the group and holds its pipes open."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    stranger = subprocess.Popen(command, start_new_session=True)
    say("log", message=f"deserter {stranger.pid}")
    sys.exit(1)


def resume(workspace):
    file = workspace / CHECKPOINT
    say("log", message=file.read_text() if file.exists() else "from the beginning")
    finish(workspace)


def chatter(workspace):
    print("this is no JSON")
    print(json.dumps({"type": "unheard of"}))
    print(json.dumps({"type": "progress", "phase": "base", "step": "x"}), flush=True)
    say("alive")
    finish(workspace)


def fault(code, detail):
    def act(_workspace):
        say("error", code=code, detail=detail)
        sys.exit(2)

    return act


def crash(workspace):
    write_checkpoint(workspace, "before the crash")
    print("Traceback (most recent call last):", file=sys.stderr)
    print("ValueError: a bug", file=sys.stderr)
    sys.exit(1)


def mutter(_workspace):
    """Last words that no database takes, and a path that nobody needs to know."""
    sys.stderr.buffer.write(b"FileNotFoundError: \0 \xff no '/home/us/.secret/model.bin' there\n\n")
    sys.exit(1)


def use_dataset(workspace):
    say("log", message=(workspace / "dataset.safetensors").read_text())
    assert Path(ORDER["dataset_file"]).parent == workspace
    finish(workspace)


def show_shrink(workspace):
    say("log", message=f"shrink {ORDER['shrink']}")
    finish(workspace)


SCENES = {
    "finish": finish,
    "show shrink": show_shrink,
    "resume": resume,
    "chatter": chatter,
    "wait": wait_for_term,
    "deaf": deaf,
    "hang": hang,
    "family": family,
    "deserter": deserter,
    "crash": crash,
    "mutter": mutter,
    "odd fault": fault("training_diverged", "a NUL \0 in the text"),
    "dataset": use_dataset,
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "137": lambda _: sys.exit(137),
    "stopped": lambda _: sys.exit(75),
    "silent exit": lambda _: sys.exit(0),
    "fault": fault("training_diverged", "loss became NaN; lower the learning rate"),
    "memory": fault("out_of_memory", "use a smaller batch"),
    "bad checkpoint": fault("invalid_checkpoint", "belongs to another job"),
    "old checkpoint": fault("outdated_checkpoint", "was left by other code"),
}

ORDER = json.loads(sys.stdin.readline())
(FOLDER / f"started-{os.getpid()}").touch()
SCENES[SCENE](Path(ORDER["workspace"]))
