"""``xai-fast demo``: sample photos with NeFLAG, LRP, Taylor-CAM and all methods, scenes, and a table with T-NID."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from pathlib import Path

import torch

from xai_fast import GNNLRP, NeFLAG, TaylorCAM, jobs
from xai_fast.cli import tnid
from xai_fast.cli.explain import MODEL, explain, named_class
from xai_fast.cli.gallery import explain_gallery
from xai_fast.cli.layers import chosen_layer
from xai_fast.cli.option_values import add_options, given_options
from xai_fast.cli.run_job import DEVICE
from xai_fast.errors import InputError
from xai_fast.jobs.runners.local import devices_of
from xai_fast.references import ModelRef, import_reference
from xai_fast.terminal import say, shown

__all__ = ["add_command", "explain_bikeshare", "explain_graphs", "explain_scenes"]

NEFLAG: dict[str, object] = {"radius": 0.3, "points": 20, "aggregate": "magnitude"}
"""Options of NeFLAG that look well on photos scaled to [-1, 1]."""

_BLUR = 2.0
_FIRST = 3
"""Photos on the page that is written first, within seconds."""

_GALLERY = 6
"""Photos that all methods explain."""

_GRAPHS = 12
_SCENES = 12
_SPARE_SCENES = 4
_SCALE = 8
_GRID = (5, 5)
_TABLE_EPOCHS = 30


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``demo`` to those of the program."""
    parser = commands.add_parser(
        "demo",
        help="explain the sample photos of installed packages, generated scenes, and the table of Bikeshare",
        description="Explain the photos of scikit-image, scikit-learn and foolbox with NeFLAG and LRP on one page, and "
        "with Taylor-CAM, questions about generated scenes with Taylor-CAM, the rentals of bicycles that the package "
        "ISLP carries with T-NID, and a few photos with all methods side by side. Writes first (a few photos), maps, "
        "taylor-cam, scenes, graphs, t-nid and gallery in this order, each with a report.html.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument("--model", default=MODEL, metavar="NAME", help=f"(default: {MODEL})")
    parser.add_argument("--target", metavar="CLASS", help="explain this class instead of the predicted one")
    parser.add_argument("--device", metavar="NAME", help=DEVICE)
    parser.add_argument("--out", default="out", metavar="DIR", help="folder of the results (default: out)")
    add_options(parser, NeFLAG, leave_out=("seed",), defaults=NEFLAG)


def _run(options: argparse.Namespace) -> bool:
    from xai_fast.datasets import sample_photos
    from xai_fast.plot import Look

    out, model, photos = Path(options.out), ModelRef(options.model).load(), sample_photos()
    target = named_class(options.target, model)
    network = model.for_pictures()
    bounds = {"low": float(network.black.min()), "high": float(network.white.max())}
    maps: dict[str, Mapping[str, object]] = {
        "neflag": {**NEFLAG, **given_options(options)},
        "lrp": {"composite": "epsilon_gamma_box", **bounds},
    }
    pairs: dict[str, Mapping[str, object]] = {"taylor_cam": {"layer": chosen_layer(None, options.model, network)}}
    done = True
    few = photos[:: max(1, len(photos) // _FIRST)][:_FIRST]
    for folder, explained, methods in (("first", few, maps), ("maps", photos, maps), ("taylor-cam", photos, pairs)):
        spec = jobs.JobSpec(
            source=[str(photo.path) for photo in explained],
            method=[{"name": name, "options": settings} for name, settings in methods.items()],
            model=options.model,
            target=target,
            dtype="float32",
        )
        done &= explain(spec, model, out / folder, Look(smooth=_BLUR, signed=True), device=options.device)
    explain_scenes(out / "scenes")
    explain_graphs(out / "graphs")
    explain_bikeshare(options.device, out / "t-nid")
    function = import_reference("target", target) if isinstance(target, str) else target
    explain_gallery(
        photos[:: max(1, len(photos) // _GALLERY)][:_GALLERY],
        options.model,
        model,
        out / "gallery",
        Look(smooth=_BLUR, signed=True, beside=True),
        target=function,
        device=devices_of(options.device)[0],
    )
    return done


def explain_scenes(out: Path) -> None:
    """Explain relational questions about scenes of Sort-of-CLEVR: which pairs of cells the answer rests on.

    Scenes of which the network is so sure that no derivative is left are skipped.
    """
    from xai_fast.datasets import sort_of_clevr
    from xai_fast.models.relation_network import relation_network
    from xai_fast.plot import Front, Item, report

    try:
        # In double precision, in which a sure answer still has derivatives: in single precision its probability is 1.
        network = copy.deepcopy(relation_network()).double()
    except InputError as error:  # without safetensors or the weights
        say(f"no scenes of Sort-of-CLEVR: {error}", error=True)
        return
    scenes = sort_of_clevr.scenes(_SCENES + _SPARE_SCENES, split="test")
    questions = [sort_of_clevr.ask(scene, i % 6, "relational", i % 3) for i, scene in enumerate(scenes)]
    images, vectors = sort_of_clevr.image_batch(scenes).double(), sort_of_clevr.question_batch(questions)[0].double()
    found = TaylorCAM(network, "tag", grid=_GRID).explain(images, additional_forward_args=vectors)
    with torch.no_grad():
        probabilities = network(images, vectors).softmax(1)
    items = []
    for i in [i for i in range(len(scenes)) if not found.facts["zero_curvature"][i]][:_SCENES]:
        values, classes = probabilities[i].topk(3)
        answers = [sort_of_clevr.ANSWERS[c] for c in classes.tolist()]
        items.append(
            Item(
                name=f"test scene {scenes[i].index}",
                explanations={"taylor_cam": found[i]},
                picture=scenes[i].draw(_SCALE),
                heading=answers[0],
                question=questions[i].text,
                classes=list(zip(answers, values.tolist(), strict=True)),
                facts={"wrong answer": answers[0] != questions[i].answer_text},
                notes={"right answer": questions[i].answer_text},
            )
        )
    front = Front(title="What the relation network answers", kicker="Taylor-CAM \u00b7 Sort-of-CLEVR")
    say(f"report: {shown(str(report(items, out, front=front)))}")


def explain_graphs(out: Path) -> None:
    """Explain which walks tell trees from graphs with cycles, for a network that is trained here."""
    from xai_fast.datasets.grown_graphs import ANSWERS, grown_graphs
    from xai_fast.models.grown_graphs import grown_graphs_network
    from xai_fast.plot import Front, report

    nodes, adjacency, _ = grown_graphs(range(_GRAPHS), split="test")
    found = GNNLRP(grown_graphs_network(), gamma=0.1).explain(nodes, adjacency, 1)
    front = Front(title="What makes a graph no tree", kicker="GNN-LRP \u00b7 grown graphs")
    say(f"report: {shown(str(report(found, out, front=front, class_names=ANSWERS)))}")


def explain_bikeshare(device: str | None, out: Path) -> None:
    """Explain the table of Bikeshare, where it is installed."""
    from xai_fast.datasets.tables import bikeshare

    try:
        table = bikeshare()
    except InputError as error:  # the photos are explained all the same
        say(f"no T-NID page: {error}", error=True)
        return
    settings = tnid.TableSettings(
        target=table.target,
        categorical=table.categorical,
        ignore=table.ignore,
        device=device,
        options={"epochs": _TABLE_EPOCHS},
    )
    tnid.explain_frame(table.frame, table.name, settings, out, table.about)
