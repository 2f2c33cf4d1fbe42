"""The program ``brainuad``: its commands, and what happens when one of them fails."""

import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from brainuad import __version__
from brainuad.cli import (
    basics,
    datasets,
    detecting,
    fitting,
    generating,
    joining,
    judging,
    preparing,
    registry,
    simulating,
)

OUT_OF_MEMORY = ("allocate memory", "out of memory")

app = typer.Typer(
    name="brainuad",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Unsupervised anomaly detection in brain MRI and CT: fit on healthy scans, calibrate on "
    "other healthy scans, detect in any scan. Research use, not a medical device.",
    epilog="Begin with [bold]brainuad demo -o demo-out[/bold]. Exit codes: 0 all well, 1 some "
    "scans failed, 2 usage, 65 bad data, 66 missing, 69 unavailable, 70 internal error, 75 try "
    "again, 77 no permission, 130 interrupted.",
)


def version(asked: bool) -> bool:
    """Print the version and stop, when asked to."""
    if asked:
        typer.echo(f"brainuad {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


COMMANDS = (
    (judging.demo, judging.DEMO_EXAMPLES),
    (preparing.prepare, preparing.EXAMPLES),
    (fitting.fit, fitting.FIT_EXAMPLES),
    (fitting.calibrate, fitting.CALIBRATE_EXAMPLES),
    (joining.ensemble, joining.EXAMPLES),
    (detecting.detect, detecting.EXAMPLES),
    (judging.evaluate, judging.EVALUATE_EXAMPLES),
    (judging.benchmark, judging.BENCHMARK_EXAMPLES),
    (judging.report, judging.REPORT_EXAMPLES),
    (simulating.simulate, simulating.EXAMPLES),
    (generating.generate, generating.EXAMPLES),
    (registry.methods, registry.METHODS_EXAMPLES),
    (registry.info, registry.INFO_EXAMPLES),
)
for command, examples in COMMANDS:
    app.command(cls=basics.Command, epilog=examples)(command)
app.add_typer(datasets.data)


def main(args: Sequence[str] | None = None) -> None:
    """Run the program and leave with the right exit code; never a traceback on the screen."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        app(args=words, prog_name="brainuad")
    except SystemExit as stop:
        if stop.code == 130:
            basics.complain(
                "interrupted; nothing half-written was left, give the same command to go on"
            )
        raise
    # The outermost place of the program: what arrives here is told to a person, not hidden.
    except Exception as error:
        raise SystemExit(exit_code(error, words)) from None


def exit_code(error: Exception, words: Sequence[str]) -> int:
    """Say on standard error what is wrong, and give the code to leave with."""
    from brainuad.types import BrainuadError

    if isinstance(error, BrainuadError):
        basics.complain(str(error))
        return error.exit_code
    if isinstance(error, MemoryError) or any(w in str(error) for w in OUT_OF_MEMORY):
        basics.complain("out of memory; free some, lower --batch-size, or use a larger machine")
        return 75
    place = write_crash(words)
    basics.complain(f"internal error ({type(error).__name__}); please report it with {place}")
    return 70


def write_crash(words: Sequence[str]) -> Path:
    """Write the traceback of the error at hand, the command and the scan to a new file."""
    subject = basics.current_scan() or "run"
    name = f"brainuad-crash-{words[0] if words else ''}-{subject}-{time.strftime('%Y%m%d-%H%M%S')}-"
    with tempfile.NamedTemporaryFile(
        "w", prefix=name, suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"brainuad {__version__}: brainuad {' '.join(words)}\n\n")
        file.write(traceback.format_exc())
    return Path(file.name)
