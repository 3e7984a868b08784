"""``xai-fast compare``: which explanation to trust for a model, by metrics, on pictures or rows of a table."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai_fast import jobs
from xai_fast.cli.explain import MODEL, named_class
from xai_fast.cli.gallery import options_of
from xai_fast.cli.reports import refuse_results
from xai_fast.cli.run_job import EXIT_CODES, add_runner, add_spec, read_spec, runner_options, tell_preparation
from xai_fast.comparison import Comparison
from xai_fast.comparison.entries import (
    METHODS,
    METRICS_OF_PICTURES,
    METRICS_OF_ROWS,
    metric_options,
    read_methods,
    read_metrics,
)
from xai_fast.comparison.stores import run_comparison
from xai_fast.errors import InputError
from xai_fast.jobs.pages import pictures_of
from xai_fast.jobs.sources import open_source
from xai_fast.references import ModelRef
from xai_fast.registry import find_method
from xai_fast.terminal import say, shown

__all__ = ["METHODS_OF_PICTURES", "add_command"]

METHODS_OF_PICTURES = ("gradient_x_input", "integrated_gradients", "smoothgrad", "neflag", "lrp", "gradcam")
"""Unless a user says; their options are those of the gallery."""

_LIMIT = 200
_SHARD_SIZE = 8
_SIDE = 224


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``compare`` to those of the program."""
    parser = commands.add_parser(
        "compare",
        help="compare explanation methods on your model and data: which to trust, at what cost",
        description="Explain pictures or the rows of a table by several methods, measure all of them by several "
        "metrics, and say which are better, by how much, and what cannot be concluded. The folder gets "
        "comparison.html, .csv, .json and .safetensors, and a job per method, which the same command goes on with "
        "after whatever ended it, also with further methods. Random maps, and edges of pictures, are always among the "
        "methods.",
        epilog=EXIT_CODES,
    )
    parser.set_defaults(run=_run)
    source = "folders (with their subfolders) and picture files; or one table.csv, x.npy, or another source of a job"
    parser.add_argument("source", nargs="+", metavar="PHOTOS|TABLE", help=source)
    add = parser.add_argument_group("what is compared").add_argument
    example = "between commas, such as 'neflag(points=20),captum:IntegratedGradients,zennit:EpsilonPlus'"
    pictures = f"pictures: {', '.join(METHODS_OF_PICTURES)}; rows: {', '.join(METHODS)}"
    add("--methods", metavar="A,B,...", help=f"{example} (default: of {pictures})")
    example = "between commas, such as 'insertion_deletion(steps=14,ranking=per_channel),sparseness'"
    pictures = f"pictures: {', '.join(METRICS_OF_PICTURES)}; rows: {', '.join(METRICS_OF_ROWS)}"
    add("--metrics", metavar="A,B,...", help=f"{example} (default: of {pictures})")
    boxes = "JSON list with the box [x0, y0, x1, y1], or boxes, of each item in pixels of the input, for some metrics"
    add("--boxes", metavar="FILE", help=boxes)
    limit = f"items, at most: spread evenly over the pictures, or the first rows (default: {_LIMIT})"
    add("--limit", type=int, default=_LIMIT, metavar="N", help=limit)
    add_spec(parser, leave_out=("method", "dtype"), model=MODEL, shard_size=_SHARD_SIZE)
    add_runner(parser)
    parser.add_argument("--out", default="out", metavar="DIR", help="folder of the results (default: out)")


def _run(options: argparse.Namespace) -> bool:
    out, loaded = Path(options.out), ModelRef(options.model).load()
    refuse_results(out)
    spec = read_spec(options, target=named_class(options.target, loaded), limit=options.limit)
    shape = open_source(spec.source).form["shape"] if spec.source["kind"] == "array" else ()
    rows = spec.source["kind"] == "table" or len(shape) == 2
    pictures = spec.source["kind"] in ("images", "webdataset") or loaded.image_model is not None
    boxes = None if options.boxes is None else _read_boxes(Path(options.boxes))
    suit = METRICS_OF_ROWS if rows else METRICS_OF_PICTURES
    metrics = read_metrics(options.metrics or suit, boxes=boxes is not None)
    methods, left_out = [], {}
    for entry in read_methods(options.methods or (METHODS_OF_PICTURES if pictures else METHODS)):
        try:
            if pictures:
                given = options_of(entry.name, find_method(entry.name), options.model, loaded, entry.options)
                entry = replace(entry, options=given)
            entry.method(loaded.module, spec.seed)
        except InputError as error:
            if options.methods:
                raise
            left_out[entry.text] = str(error)
            continue
        methods.append(entry)
    if pictures:
        black = loaded.for_pictures().black.flatten().tolist()
        metrics = [entry.with_defaults(metric_options(entry.name), black=black) for entry in metrics]
        tell_preparation(loaded.preparation)
    how = {"threads": options.threads, **runner_options(options)}
    comparison, failed = run_comparison(spec, out, methods, metrics, boxes=boxes, **how)
    _report(comparison, out, out / "methods" / methods[0].key)
    for name, reason in (left_out | failed).items():
        say(f"not compared: {name} ({reason})")
    return not failed and not bool(comparison.evaluations.isnan().any())


def _read_boxes(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"--boxes: {path} cannot be read: {error}") from error


def _report(comparison: Comparison, out: Path, folder: Path) -> None:
    """Write the page and what is beside it, and print the means and what follows."""
    from xai_fast.plot.comparison import write_comparison

    store = jobs.open(folder)
    draw = pictures_of(jobs.JobSpec.from_dict(store.job["spec"]), store, trust=True)[0]
    table = store.job["spec"]["source"]["kind"] == "table"
    pictures = None if draw is None or table else [draw(i, _SIDE) for i in range(len(store))]
    comparison.save(out / "comparison.safetensors")
    page = write_comparison(comparison, out, pictures=pictures)
    for line in (*_table(comparison), *comparison.conclusions()):
        say(line)
    say(f"report: {shown(str(page))}")


def _table(comparison: Comparison) -> list[str]:
    """Write the means of all methods in columns, the best within error marked."""
    width = max(map(len, comparison.methods))
    names = [metric.partition("(")[0] for metric in comparison.scores]
    lines = [f"{'mean over items':{width}}  {'  '.join(names)}  evaluations"]
    best = {metric: comparison.best(metric) for metric in comparison.scores}
    for m, method in enumerate(comparison.methods):
        cells = [
            f"{values[m].nanmean():.4g}{'*' if method in best[metric] else ' '}".rjust(len(name))
            for name, (metric, values) in zip(names, comparison.scores.items(), strict=True)
        ]
        lines.append(f"{method:{width}}  {'  '.join(cells)}  {comparison.evaluations[m].nanmean():.1f}")
    return [*lines, "* best within error"]
