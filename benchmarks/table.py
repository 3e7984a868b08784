"""Make the tables of docs/results.md and docs/install.md from the kept results, so that no number is typed by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import install, interactions_table, tnid_table, truth_table

__all__ = ["renew_tables", "speed_table"]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ROWS = (
    (
        "NeFLAG / its own gradient evaluations run bare, Lite0, batch 32",
        "test_overhead_over_its_own_gradients[32-neflag]",
        "times_its_own_gradients",
        "{:.3f}",
        "<= 1.08",
    ),
    (
        "share of time outside the model's passes, Lite0, batch 32",
        "test_share_of_time_in_the_models_gradient",
        "share_outside_the_model",
        "{:.1%}",
        "< 5 %",
    ),
    (
        "literal loop / NeFLAG, Lite0, 8 photos, 10 points",
        "test_against_the_literal_loop[8-10-efficientnet-lite0]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 1.7",
    ),
    (
        "literal loop / NeFLAG, ResNet-18, 8 photos, 10 points",
        "test_against_the_literal_loop[8-10-resnet18-random]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 1.7",
    ),
    (
        "literal loop / NeFLAG in bfloat16, Lite0",
        "test_bfloat16[efficientnet-lite0]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 3 with AMX",
    ),
    (
        "literal loop / NeFLAG in bfloat16, ResNet-18",
        "test_bfloat16[resnet18-random]",
        "times_less_than_the_literal_loop",
        "{:.2f}",
        ">= 5 with AMX",
    ),
    (
        "captum IntegratedGradients / NeFLAG, Lite0, same evaluations",
        "test_against_captum[efficientnet-lite0]",
        "integrated_gradients_over_neflag",
        "{:.2f}",
        "",
    ),
    (
        "captum SmoothGrad / NeFLAG, Lite0, same evaluations",
        "test_against_captum[efficientnet-lite0]",
        "smoothgrad_over_neflag",
        "{:.2f}",
        "",
    ),
    (
        "full Hessian by nested autograd / Taylor-CAM's pairs, relation network, an image",
        "test_taylor::test_relation_network",
        "nested_hessian_over_ours",
        "{:.0f}",
        ">= 250",
    ),
    (
        "batched Hessian-vector products / Taylor-CAM's pairs, relation network, batch 16",
        "test_taylor::test_relation_network",
        "hvp_over_ours",
        "{:.1f}",
        ">= 15",
    ),
    (
        "batched Hessian-vector products / Taylor-CAM's pairs, Lite0, 14 x 14 cells",
        "test_taylor::test_efficientnet_14_by_14",
        "hvp_over_ours",
        "{:.1f}",
        ">= 1.5",
    ),
    *(
        (
            f"batched Hessian-vector products / a second bilinear_form, 600-256-256-10 head, {label}",
            f"test_taylor::test_head_without_a_trace[{name}]",
            "products_over_ours",
            "{:.1f}",
            goal,
        )
        for name, label, goal in (
            ("one_side", "pairs of one set of directions", ">= 4"),
            ("two_sides", "of two sets", ""),
        )
    ),
    (
        "batched Hessian-vector products / reverse route, small ReLU network, 10 classes",
        "test_taylor::test_reverse_route",
        "hvp_over_ours",
        "{:.1f}",
        ">= 5",
    ),
    (
        "four runs of the model for each pair / removal interactions, relation network, 25 cells",
        "test_removal::test_against_a_loop_over_pairs[relation network, 5 x 5]",
        "pair_loop_over_ours",
        "{:.0f}",
        ">= 20",
    ),
    (
        "four runs of the model for each pair / removal interactions, Lite0, 49 cells",
        "test_removal::test_against_a_loop_over_pairs[Lite0, 7 x 7]",
        "pair_loop_over_ours",
        "{:.0f}",
        ">= 20",
    ),
    (
        "Hessian of an MLP, 4 points / the same in compiled JAX",
        "test_taylor::test_hessian_of_an_mlp",
        "ours_over.jax_jit",
        "{:.2f}",
        "<= 1",
    ),
    (
        "Hessian of an MLP, 4 points / the same by torch.compile",
        "test_taylor::test_hessian_of_an_mlp",
        "ours_over.torch_compile",
        "{:.2f}",
        "<= 1",
    ),
    (
        "all sets of 2 to 5 features by nested autograd / T-NID's, MLP, 6 points",
        "test_tnid::test_orders_two_to_five",
        "all_sets_over_ours",
        "{:.0f}",
        ">= 5000",
    ),
    (
        "the published search of such sets / all of them by T-NID",
        "test_tnid::test_orders_two_to_five",
        "published_search_over_ours",
        "{:.0f}",
        ">= 200",
    ),
    (
        "all triples of an MLP in compiled JAX / T-NID's, 4 points",
        "test_tnid::test_triples_against_jax",
        "jax_over_ours",
        "{:.1f}",
        ">= 10",
    ),
    (
        "plain PyTorch / `relevance_ratio`, 8 items of 64 x 56 x 56",
        "test_kernels::test_relevance_ratio_against_plain_pytorch[1-8]",
        "plain_over_native",
        "{:.1f}",
        ">= 2",
    ),
    (
        "plain PyTorch / `relevance_ratio`, 10 targets of an item of 64 x 56 x 56",
        "test_kernels::test_relevance_ratio_against_plain_pytorch[10-1]",
        "plain_over_native",
        "{:.1f}",
        ">= 2",
    ),
    (
        "LRP `epsilon`, ResNet-18, 8 items: time in gradients",
        "test_relevance::test_in_gradients[resnet18]",
        "time_of_epsilon",
        "{:.2f}",
        "<= 1.15",
    ),
    (
        "LRP `epsilon_plus`, ResNet-18, 8 items: time in gradients",
        "test_relevance::test_in_gradients[resnet18]",
        "time_of_epsilon_plus",
        "{:.2f}",
        "<= 1.8",
    ),
    (
        "LRP `epsilon_gamma_box`, ResNet-18, 8 items: time in gradients",
        "test_relevance::test_in_gradients[resnet18]",
        "time_of_epsilon_gamma_box",
        "{:.2f}",
        "<= 2.2",
    ),
    (
        "LRP `epsilon_alpha2_beta1`, ResNet-18, 8 items: time in gradients",
        "test_relevance::test_in_gradients[resnet18]",
        "time_of_epsilon_alpha2_beta1",
        "{:.2f}",
        "<= 2.5",
    ),
    (
        "LRP `epsilon`, VGG11-BN, 8 items: time in gradients",
        "test_relevance::test_in_gradients[vgg11_bn]",
        "time_of_epsilon",
        "{:.2f}",
        "<= 1.15",
    ),
    (
        "LRP `epsilon_plus`, VGG11-BN, 8 items: time in gradients",
        "test_relevance::test_in_gradients[vgg11_bn]",
        "time_of_epsilon_plus",
        "{:.2f}",
        "<= 1.8",
    ),
    (
        "LRP `epsilon_gamma_box`, VGG11-BN, 8 items: time in gradients",
        "test_relevance::test_in_gradients[vgg11_bn]",
        "time_of_epsilon_gamma_box",
        "{:.2f}",
        "<= 2.2",
    ),
    (
        "LRP `epsilon_alpha2_beta1`, VGG11-BN, 8 items: time in gradients",
        "test_relevance::test_in_gradients[vgg11_bn]",
        "time_of_epsilon_alpha2_beta1",
        "{:.2f}",
        "<= 2.5",
    ),
    (
        "zennit / LRP, VGG11-BN, the composite with the smallest ratio",
        "test_relevance::test_against_zennit",
        "least",
        "{:.1f}",
        ">= 1.7",
    ),
    (
        "zennit / LRP `epsilon_gamma_box`, VGG11-BN",
        "test_relevance::test_against_zennit",
        "with_gamma",
        "{:.1f}",
        ">= 3",
    ),
    (
        "zennit / LRP, ten classes, VGG11-BN",
        "test_relevance::test_against_zennit",
        "with_ten_classes",
        "{:.1f}",
        ">= 4",
    ),
    (
        "LRP of ten classes / of one, VGG11-BN",
        "test_relevance::test_against_zennit",
        "ten_classes_in_one",
        "{:.1f}",
        "<= 4.5",
    ),
    (
        "AttnLRP, six blocks of ViT-S/16: time in gradients",
        "test_relevance::test_of_a_transformer",
        "attn_lrp",
        "{:.2f}",
        "<= 1.3",
    ),
    (
        "TransformerAttribution, the same",
        "test_relevance::test_of_a_transformer",
        "transformer_attribution",
        "{:.2f}",
        "<= 1.5",
    ),
    *(
        (
            f"the owner's gradient / that of a prepared model, {label}, batch {batch}",
            f"test_preparation::test_over_the_owners_gradient[{name}-{batch}]",
            "gain",
            "{:.2f}",
            goal,
        )
        for name, label, goal in (
            ("resnet18", "ResNet-18", ">= 1.5"),
            ("resnet50", "ResNet-50", ">= 1.5"),
            ("lite0", "Lite0", ">= 1.25"),
            ("vit", "six blocks of ViT-S/16", ">= 1"),
            ("convnext", "ConvNeXt-tiny", ">= 1"),
        )
        for batch in (1, 8, 32)
    ),
    *(
        (
            f"the owner's gradient / that of a compiled model, {label}, batch 8",
            f"test_preparation::test_compiled[{name}]",
            "gain",
            "{:.2f}",
            "",
        )
        for name, label in (("resnet18", "ResNet-18"), ("lite0", "Lite0"), ("vit", "six blocks of ViT-S/16"))
    ),
    (
        "memory of LRP / of a gradient, ResNet-50, one item, the largest",
        "test_relevance::test_memory",
        "most",
        "{:.2f}",
        "<= 1.5",
    ),
)

TIMES = (
    (
        "161,700 triples of 100 features, 4 points",
        "test_tnid::test_all_sets_of_a_large_network[100-3-0.5]",
        "median_seconds",
        "0.5 s",
    ),
    (
        "3,921,225 quadruples of 100 features, 4 points",
        "test_tnid::test_all_sets_of_a_large_network[100-4-15.0]",
        "median_seconds",
        "15 s",
    ),
    (
        "499,500 pairs of 1,000 features, 4 points",
        "test_tnid::test_all_sets_of_a_large_network[1000-2-0.5]",
        "median_seconds",
        "0.5 s",
    ),
    (
        "the strongest triples of 1,000 features, 994,300 candidates, 4 points",
        "test_tnid::test_strongest_triples_of_a_thousand_features",
        "seconds",
        "3 s",
    ),
)
"""What is measured in seconds, because no other way is there to compare with."""


def _looked_up(row: Mapping[str, Any], path: str) -> float:
    found: Any = row
    for key in path.split("."):
        found = found[key]
    return float(found)


def speed_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Make the table of speed; rows that were not measured are left out."""
    lines = ["| ratio of times, taken in turn in one run | measured | goal |", "|---|---|---|"]
    for label, name, key, form, goal in ROWS:
        row = results.get(name if "::" in name else f"test_neflag::{name}")
        if row is not None:
            lines.append(f"| {label} | {form.format(_looked_up(row, key))} | {goal} |")
    for name, row in sorted(results.items()):
        if name.startswith("test_kernels::") and "copy_ratio" in row:
            lines.append(f"| {row['label']} | {row['copy_ratio']:.2f} | <= 1.5 |")
    lines += ["", "| T-NID of an MLP, float32 | measured | goal |", "|---|---|---|"]
    for label, name, key, goal in TIMES:
        if name in results:
            lines.append(f"| {label} | {_looked_up(results[name], key):.2g} s | < {goal} |")
    return "\n".join(lines)


TABLES: Mapping[str, tuple[Path, Callable[[Any], str]]] = {
    "benchmarks": (RESULTS / "speed.json", lambda results: f"{speed_table(results)}\n\n{_machines(results)}"),
    "neflag": (truth_table.RESULT, truth_table.paper_tables),
    "truth": (truth_table.RESULT, truth_table.truth_tables),
    "interactions": (interactions_table.RESULT, interactions_table.table),
    "reader": (interactions_table.READER, interactions_table.reader_table),
    "tnid": (tnid_table.RESULT, tnid_table.summary),
    "install": (install.RESULT, install.table),
}
"""Mark in a page of docs/ to the file of results, and what makes the table of it."""


def renew_tables() -> None:
    """Write the tables between their marks in the pages of docs/."""
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for mark, (path, made) in TABLES.items():
            if path.exists() and f"\n<!-- {mark} -->\n" in text:
                content = made(json.loads(path.read_text(encoding="utf-8")))
                text = _between(mark, content or "Not measured yet.", text)
        page.write_text(text, encoding="utf-8")


def _machines(results: Mapping[str, Mapping[str, Any]]) -> str:
    seen = {(r["environment"]["cpu"], r["environment"]["threads"], r["environment"]["torch"]) for r in results.values()}
    return (
        "; ".join(
            f"{cpu}, {threads} thread{'s' * (threads > 1)}, torch {torch}" for cpu, threads, torch in sorted(seen)
        )
        + "."
    )


def _between(mark: str, content: str, text: str) -> str:
    block = f"<!-- {mark} -->\n\n{content}\n\n<!-- /{mark} -->"
    return re.sub(f"<!-- {mark} -->.*?<!-- /{mark} -->", lambda _: block, text, flags=re.DOTALL)


if __name__ == "__main__":
    renew_tables()
