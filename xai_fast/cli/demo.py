"""``xai-fast demo``: sample photos with NeFLAG and Taylor-CAM, scenes of Sort-of-CLEVR, and a table with T-NID."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from xai_fast.cli import interactions, neflag, tnid
from xai_fast.cli.files import Picture, sample_pictures
from xai_fast.cli.layers import KNOWN_LAYERS
from xai_fast.cli.pictures import Failure
from xai_fast.errors import InputError
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.plot import Item
from xai_fast.suites import sort_of_clevr
from xai_fast.suites.relation_network import RelationNetwork, relation_network
from xai_fast.suites.tables import bikeshare
from xai_fast.terminal import say

__all__ = ["run", "sort_of_clevr_views"]

_SCENES = 12
_SPARE_SCENES = 4
_SCALE = 8
_GRID = (5, 5)
_TABLE_EPOCHS = 30


def run(settings: neflag.Settings, out: Path) -> list[Failure]:
    """Explain the sample photos of installed packages, scenes of Sort-of-CLEVR, and the rentals of Bikeshare.

    Args:
        settings: of NeFLAG; model, device and the like count for Taylor-CAM too, the device for T-NID.
        out: the folder of the results; those of Taylor-CAM are in ``taylor-cam`` in it, those of T-NID in ``t-nid``.

    Returns:
        The pictures that could not be read or explained.

    Raises:
        InputError: an option is out of range, or the model cannot be loaded.
        ModelError: the model can explain none of the pictures.
    """
    pictures = sample_pictures()
    failures = neflag.run(pictures, settings, out)
    if settings.model in KNOWN_LAYERS:
        failures += _interactions_of(pictures, settings, out)
    else:
        say(f"no Taylor-CAM page: no layer of {settings.model} is known; see xai-fast taylor-cam", error=True)
    _explain_bikeshare(settings.device, out / "t-nid")
    return failures


def _interactions_of(pictures: Sequence[Picture], settings: neflag.Settings, out: Path) -> list[Failure]:
    shared = {name: getattr(settings, name) for name in ("model", "target", "top_k_classes", "device", "overwrite")}
    chosen = interactions.InteractionSettings(**shared)
    more = _stored_scenes()
    return interactions.run(pictures, chosen, out / "taylor-cam", more)


def _explain_bikeshare(device: str, out: Path) -> None:
    try:
        table = bikeshare()
    except InputError as error:  # the photos are explained all the same
        say(f"no T-NID page: {error}", error=True)
        return
    chosen = tnid.TableSettings(
        target=table.target,
        categorical=table.categorical,
        ignore=table.ignore,
        epochs=_TABLE_EPOCHS,
        device=device,
    )
    tnid.explain_frame(table.frame, table.name, chosen, out, table.about)


def sort_of_clevr_views(network: RelationNetwork, count: int) -> list[Item]:
    """Explain relational questions about scenes of the test split: which pairs of cells the answer rests on.

    Args:
        network: in evaluation mode, on the CPU.
        count: scenes, about each of which the network answers a question; the three kinds of relational questions take
            turns.

    Returns:
        An item per scene. Scenes of which the network is so sure that no derivative is left are skipped.
    """
    scenes = sort_of_clevr.scenes(count + _SPARE_SCENES, split="test")
    questions = [sort_of_clevr.ask(scene, i % 6, "relational", i % 3) for i, scene in enumerate(scenes)]
    # In double precision, in which a sure answer still has derivatives: in single precision its probability is 1.
    network = copy.deepcopy(network).double()
    images, vectors = sort_of_clevr.image_batch(scenes).double(), sort_of_clevr.question_batch(questions)[0].double()
    method = TaylorCAM(network, "tag", grid=_GRID)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="all interactions of the items")
        found = method.explain(images, additional_forward_args=vectors)
    with torch.no_grad():
        probabilities = network(images, vectors).softmax(1)
    views = []
    shown = [i for i in range(len(scenes)) if bool(found.saliency[i].any())][:count]
    for i, scene, question in ((i, scenes[i], questions[i]) for i in shown):
        answer = int(probabilities[i].argmax())
        picture = scene.draw(_SCALE)
        values, classes = (best.tolist() for best in probabilities[i].topk(3))
        views.append(
            Item(
                f"test scene {scene.index}",
                {"taylor_cam": found[i]},
                picture,
                sort_of_clevr.ANSWERS[answer],
                question=question.text,
                classes=[(sort_of_clevr.ANSWERS[c], p) for c, p in zip(classes, values, strict=True)],
                facts={"wrong answer": answer != question.answer},
                notes={"right answer": question.answer_text},
            )
        )
    return views


def _stored_scenes() -> Sequence[Item]:
    try:
        network = relation_network()
    except InputError as error:  # without safetensors or the weights: the photos can be explained all the same
        say(f"no scenes of Sort-of-CLEVR: {error}", error=True)
        return ()
    return sort_of_clevr_views(network, _SCENES)
