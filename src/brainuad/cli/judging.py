"""``brainuad demo``, ``evaluate``, ``benchmark`` and ``report``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainuad.cli.basics import (
    BatchSize,
    Config,
    Device,
    Namesakes,
    Out,
    Quiet,
    Seed,
    Set,
    complain,
    each,
    list_failures,
    say,
)

DEMO_EXAMPLES = """
[bold]Examples[/bold]

  brainuad demo -o demo-out

  brainuad demo -o demo-out --seed 1 --device cuda
"""
PROTOCOLS = (
    "brainuad", "local", "mad-ad-max", "mad-ad-global", "behrendt", "behrendt-paper", "itermask2",
    "thor-atlas", "kascenas", "meissen", "uad-imag", "disyre-upd", "andi", "medianomaly", "anoddpm",
)  # fmt: skip
"""Names for the help, which must not wait for the libraries behind them."""
EVALUATE_EXAMPLES = f"""
[bold]Examples[/bold]

  brainuad evaluate -i out -o results --truth lesions

  brainuad evaluate -i out -o results --truth truth.tsv --protocol local

  brainuad evaluate -i out -o results --truth truth.tsv --subjects people.tsv --by age,sex

  brainuad evaluate -i out -o results --truth truth.tsv --against results-of-dae

  brainuad evaluate -i out -o results --truth lesions --protocol behrendt \\
    --validation ill-maps --validation-truth ill-lesions

[bold]Protocols[/bold]: {", ".join(PROTOCOLS)}. brainuad info says what each is.

For X_anomalymap.nii.gz the folder of truth holds X_lesion.nii.gz, X_mask.nii.gz or X.nii.gz; a
scan without one counts as healthy only when the table says so: columns map, lesion (empty: healthy)
and perhaps region, subject, kind and scan. Maps of other programs will do.
"""
BENCHMARK_EXAMPLES = """
[bold]Examples[/bold]

  brainuad benchmark ixi-stroke -o results --data ../shared

  brainuad benchmark ixi-stroke -o quick --data ../shared --mini --methods intensity:dark dae@2m

  brainuad benchmark grid.yaml -o grid --data ../shared --workers 8

A method is written method[:preset][@steps or @duration]; a settings file (.yaml) of brainuad fit, a
detector folder or the name of a shipped detector will do. A stopped run goes on where it was.
"""
REPORT_EXAMPLES = """
[bold]Examples[/bold]

  brainuad report out
"""


def demo(
    *,
    out: Out = Path("demo-out"),
    seed: Seed = 0,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Run everything on generated brains, in minutes: fit, calibrate, detect, evaluate, report.

    No data is needed. Writes results.csv, the page index.html, the generated scans, and four
    detectors that the other commands can use.
    """
    from brainuad.demo import run_demo

    page = run_demo(
        out, seed=seed, device=device, progress=not quiet, say=lambda text: say(escape(text))
    )
    say(f"report: {page.resolve()}")


Subjects = Annotated[
    Path | None, typer.Option(metavar="TABLE", help="Age, sex, site or scanner of each subject.")
]
By = Annotated[
    str, typer.Option(metavar="COLUMNS", help="Split by these, such as age,sex; default all.")
]
Against = Annotated[
    list[Path] | None,
    typer.Option(metavar="RESULTS...", help="Compare with these results, case by case."),
]


def evaluate(
    *,
    maps: Annotated[
        Path, typer.Option("--input", "-i", metavar="FOLDER", help="Folder of anomaly maps.")
    ],
    out: Out,
    truth: Annotated[
        Path, typer.Option(metavar="FOLDER|TSV", help="Lesion masks, or a table that names them.")
    ],
    protocol: Annotated[
        str, typer.Option(metavar="NAME", help="How to measure; the names stand below.")
    ] = "brainuad",
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", metavar="DETECTOR", help="Its calibrated thresholds count."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Maps of other scans that choose the threshold: with lesions for behrendt and "
            "behrendt-paper, healthy ones for uad-imag.",
        ),
    ] = None,
    validation_truth: Annotated[
        Path | None, typer.Option(metavar="FOLDER|TSV", help="Lesions of the validation maps.")
    ] = None,
    subjects: Subjects = None,
    by: By = "",
    against: Against = None,
    dataset: Annotated[str, typer.Option(help="Name of the data set, for the table.")] = "",
    namesakes: Namesakes = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Compare anomaly maps with lesion masks: every metric of a protocol, with 95 % intervals.

    Writes results.csv, cases.csv and index.html. Maps and masks must lie on the same grid; where
    X_uad.json lies beside a map, its method and threshold are taken from there.
    """
    from brainuad.cli.evaluation import Asked, run_evaluation

    page, remarks = run_evaluation(
        Asked(
            maps=maps,
            truth=truth,
            out=out,
            protocol=protocol,
            model=model,
            validation=(validation, validation_truth),
            subjects=subjects,
            by=by,
            against=against or (),
            dataset=dataset,
            namesakes=namesakes,
            seed=seed,
            quiet=quiet,
        )
    )
    for remark in remarks:
        say(escape(remark))
    say(f"report: {page.resolve()}")


def benchmark(
    *,
    name: Annotated[
        str,
        typer.Argument(help="ixi-stroke, mslub, mednist-sprites, or a YAML file with a grid."),
    ],
    out: Out,
    data: Annotated[
        Path,
        typer.Option(envvar="BRAINUAD_DATA", help="Folder that holds data and benchmarks."),
    ] = Path("../shared"),
    methods: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD...", help="method[:preset][@steps or @duration] each."),
    ] = None,
    detectors: Annotated[
        Path | None, typer.Option(help="Use these fitted detectors instead of fitting.")
    ] = None,
    mini: Annotated[bool, typer.Option(help="The small subset of the cases.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that prepare and detect.")] = 2,
    batch_size: BatchSize = 16,
    seed: Seed = 0,
    device: Device = "cpu",
    config: Config = None,
    changes: Set = None,
    quiet: Quiet = False,
) -> None:
    """Run methods on a local benchmark: one table with intervals, one page with pictures.

    Settings of the training come from --config and --set (training.steps=2000). Finished parts
    are kept in the output folder and not done again.

    NAME may be a YAML file with benchmarks, methods, seeds and training: every combination is run
    (--workers side by side, one thread each), what an earlier run has finished is kept, and
    index.html, leaderboard.csv, .md and .tex rank them all.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        run_grid_file(Path(name), data=data, out=out, workers=workers, quiet=quiet)
        return
    from brainuad.benchmark import METHODS, RunSettings, run_benchmark
    from brainuad.cli.settings import training_settings

    settings = RunSettings(
        training=training_settings(config, changes or []),
        seed=seed,
        workers=workers,
        device=device,
        batch_size=batch_size,
        mini=mini,
        progress=not quiet,
        detectors=detectors,
    )
    page = run_benchmark(name, data=data, out=out, methods=methods or METHODS, settings=settings)
    say(f"report: {page.resolve()}")


def run_grid_file(path: Path, *, data: Path, out: Path, workers: int, quiet: bool) -> None:
    """Run the missing cells of a grid and write its leaderboard."""
    from brainuad.benchmark.grid import Grid, run_grid
    from brainuad.benchmark.leaderboard import write_leaderboard

    grid, failed, total = Grid.read(path), {}, 0
    for ran in run_grid(grid, data=data, out=out, workers=workers, progress=not quiet):
        total += 1
        if ran.error:
            failed[Path(ran.cell.name)] = ran.error
            complain(ran.error)
        else:
            say(escape(f"{ran.cell.name}: {'done before' if ran.known else 'done'}"))
    say(f"leaderboard: {write_leaderboard(grid, out).resolve()}")
    if failed:
        list_failures(failed, total=total, kind="cell")


def report(
    *,
    out: Annotated[Path, typer.Argument(help="Folder that detect or evaluate wrote to.")],
    quiet: Quiet = False,
) -> None:
    """Make the pages of results again, from the files that lie in a folder.

    A page for each scan with an X_uad.json, and index.html where there is a results.csv.
    """
    from brainuad.cli.rebuild import rebuild_scan, rebuild_table, records

    found = records(out)
    if found:
        each(found, lambda n: f"page {rebuild_scan(found[n])}", doing="report", quiet=quiet)
    if (out / "results.csv").is_file():
        say(f"report: {rebuild_table(out).resolve()}")
