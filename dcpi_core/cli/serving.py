"""``dcpi serve``: the whole service on this machine."""

import os
import sys

import typer


def serve(ctx: typer.Context) -> None:
    """Start the service here. Further options are passed on; see `dcpi serve -- --help`."""
    sys.stdout.flush()
    # Replace this process: signals then reach the service itself, and its exit status is ours.
    os.execv(sys.executable, [sys.executable, "-m", "worker.local", *ctx.args])  # noqa: S606
