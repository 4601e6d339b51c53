"""``dcpi``: condense, train and verify here; submit to and pull from a service.

Commands import what they need when they run, so that help and the commands that only talk to a
service start without torch.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dcpi_core import __version__
from dcpi_core.cli import (
    bundles,
    controlling,
    estimating,
    jobs,
    listing,
    offline,
    remote,
    serving,
    showing,
    verifying,
)
from dcpi_core.cli.screen import print_error
from dcpi_core.spec.errors import DcpiError


class ErrorsInOneLine(TyperGroup):
    """Turns a deliberate error into one line and exit status 2; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DcpiError as error:
            print_error(error)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=ErrorsInOneLine,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Condense a dataset, learn privileged information for it, and measure what it is worth.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dcpi {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="show it and exit"),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


app.command("condense")(offline.condense)
app.command("list")(listing.list_components)
app.command("estimate")(estimating.estimate)
app.command("show")(showing.show)
app.command("train")(bundles.train)
app.command("verify")(verifying.verify)
app.command("test-data")(bundles.export_test)
app.command("submit")(remote.submit)
app.command("watch")(remote.watch)
app.command("pull")(remote.pull)
app.command("jobs")(jobs.jobs)
app.command("cancel")(controlling.cancel)
app.command("pause")(controlling.pause)
app.command("resume")(controlling.resume)
app.command("retry")(controlling.retry)
app.command("serve", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    serving.serve
)

if __name__ == "__main__":
    app()
