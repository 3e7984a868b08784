"""Generated garments: the same everywhere, and the network that comes with them knows them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.training import __main__ as train
from xai_fast.datasets.generated_shapes import CLASSES, draw, label_of, main, write_pictures
from xai_fast.errors import InputError
from xai_fast.models.generated_shapes import ShapesNetwork, small_classifier
from xai_fast.models.pretrained import model_card


def test_pictures_are_a_function_of_their_number_and_seed() -> None:
    assert np.array_equal(draw(7), draw(7))
    assert len({draw(index, seed=seed).tobytes() for index in range(40) for seed in (0, 1)}) == 80
    # Drawn with whole numbers only, so this holds on every machine.
    digest = hashlib.sha256(b"".join(draw(index).tobytes() for index in range(100))).hexdigest()
    assert digest == "5fe604870fa46726f0a2bc22f8d61393ac2ff6de47991512f1b571f5eafedb93"


def test_files_are_in_a_folder_for_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_pictures(tmp_path / "one", 20)
    folders = sorted(path.name for path in folder.iterdir())
    assert folders[0] == "0-T-shirt"
    assert folders[9] == "9-ankle-boot"
    for index in range(20):
        stored = np.asarray(Image.open(folder / folders[label_of(index)] / f"{index:06d}.png"))
        assert np.array_equal(stored, draw(index))
    assert main([str(tmp_path / "two"), "3", "--seed", "1"]) == 0
    assert len(list((tmp_path / "two").rglob("*.png"))) == 3
    assert main([str(tmp_path / "three"), "0"]) == 2
    assert "count" in capsys.readouterr().err


def test_the_network_knows_them() -> None:
    classifier = small_classifier()
    assert classifier.class_names == CLASSES
    x = torch.stack([classifier.transform(Image.fromarray(draw(index, seed=5))) for index in range(200)])
    with torch.no_grad():
        hits = classifier.model(x).argmax(1) == torch.tensor([label_of(index) for index in range(200)])
    assert hits.float().mean() > 0.98
    assert model_card("generated-shapes")["accuracy"] > 0.98


def test_random_weights_are_a_function_of_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = small_classifier(pretrained=False, seed=seed).model
        assert isinstance(model, ShapesNetwork)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    state = torch.random.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.slow
def test_training_learns_and_writes_weights(tmp_path: Path) -> None:
    assert train.main(["generated-shapes", "--steps", "60", "--out", str(tmp_path)]) == 0
    assert model_card("generated-shapes", tmp_path)["accuracy"] > 0.3


@pytest.mark.parametrize(("index", "seed"), [(-1, 0), (0, -1), (0, 2**64)])
def test_what_is_out_of_range_is_said(index: int, seed: int) -> None:
    with pytest.raises(InputError, match=r"index|seed"):
        draw(index, seed=seed)
