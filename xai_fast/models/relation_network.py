"""The relation network of Sort-of-CLEVR, cut into the pieces that explanations need.

Santoro et al., "A simple neural network module for relational reasoning", NIPS 2017, Eq. 1 and the supplement:
``RN(O) = f(sum over i, j of g(o_i, o_j, q))``. Four convolutions of 24 channels give 5 x 5 positions; each position
with its two coordinates is an object o_i of 26 numbers; g has four layers of 256 and f two.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from xai_fast.errors import bad_argument
from xai_fast.models.pretrained import with_weights

__all__ = ["PairwiseRelation", "RelationNetwork", "TagPositions", "relation_network"]

_QUESTION_BITS = 11
_ANSWERS = 10


class TagPositions(nn.Module):
    """Flattens a feature map of at least 2 x 2 cells into objects, and gives each the coordinates of its cell."""

    coordinates: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        self.register_buffer("coordinates", torch.stack([rows, columns], dim=-1).flatten(0, 1), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Turn a map (B, C, height, width) into (B, height * width, C + 2): row and column come last, from -1 to 1."""
        batch = features.shape[0]
        coordinates = self.coordinates.to(features.dtype).expand(batch, -1, -1)
        return torch.cat([features.flatten(2).transpose(1, 2), coordinates], dim=2)


class PairwiseRelation(nn.Module):
    """``sum over all ordered pairs (i, j) of g(o_i, o_j, q)``, pairs of an object with itself among them.

    Objects have ``channels`` numbers, questions ``question_bits``, 0 for relations without one. The first layer of g is
    linear in the concatenation [o_i, o_j, q], so its weight is kept as three blocks A, B, C:
    ``A o_i + B o_j + C q + bias`` takes 2n + 1 products instead of n^2, and is the same function.
    """

    def __init__(
        self,
        channels: int,
        question_bits: int,
        width: int = 256,
        layers: int = 4,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise bad_argument("layers", "at least 1", layers)
        self.first_object = nn.Linear(channels, width, bias=False)
        self.second_object = nn.Linear(channels, width, bias=question_bits == 0)
        self.question = nn.Linear(question_bits, width) if question_bits else None
        # As nn.Linear would draw the concatenated layer, which has the inputs of all three.
        bound = 1 / math.sqrt(2 * channels + question_bits)
        for block in self._blocks():
            for parameter in block.parameters():
                nn.init.uniform_(parameter, -bound, bound)
        rest: list[nn.Module] = [activation()]
        for _ in range(layers - 1):
            rest += [nn.Linear(width, width), activation()]
        self.rest = nn.Sequential(*rest)

    def forward(self, objects: Tensor, questions: Tensor | None = None) -> Tensor:
        """Sum g over the pairs of objects (B, n, d), with questions (B, q) where it takes some: (B, width)."""
        if (questions is None) != (self.question is None):
            expected = "a question for each item" if self.question is not None else "None, as question_bits is 0"
            raise bad_argument("questions", expected, "None" if questions is None else tuple(questions.shape))
        first = self.first_object(objects).unsqueeze(2)
        second = self.second_object(objects).unsqueeze(1)
        if self.question is not None:
            second = second + self.question(questions).unsqueeze(1).unsqueeze(1)
        pairs: Tensor = self.rest(first + second)
        return pairs.sum(dim=(1, 2))

    @property
    def first_bias(self) -> Tensor:
        """The bias of the first layer of g, (width,)."""
        return self._blocks()[-1].bias

    def _blocks(self) -> list[nn.Linear]:
        blocks = [self.first_object, self.second_object]
        return blocks if self.question is None else [*blocks, self.question]


class RelationNetwork(nn.Module):
    """The whole network, from pixels and question bits to ten logits.

    Explanations can cut it at ``convolutions``, whose output is the feature map (B, 24, 5, 5), and at ``tag``, whose
    output is the objects (B, 25, 26). Cell (r, c) of the map is centred at pixel (16 r, 16 c) and sees 15 pixels
    around it.
    """

    def __init__(self) -> None:
        super().__init__()
        channels, width = 24, 256
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for number in range(1, 5):
            layers[f"conv{number}"] = nn.Conv2d(inputs, channels, kernel_size=3, stride=2, padding=1)
            layers[f"norm{number}"] = nn.BatchNorm2d(channels)
            layers[f"relu{number}"] = nn.ReLU()
            inputs = channels
        self.convolutions = nn.Sequential(layers)
        self.tag = TagPositions(5, 5)
        self.relation = PairwiseRelation(channels + 2, _QUESTION_BITS, width)
        self.readout = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(width, _ANSWERS),
        )

    def objects(self, images: Tensor) -> Tensor:
        """Compute the objects (B, 25, 26) of images (B, 3, 75, 75), rgb / 255."""
        objects: Tensor = self.tag(self.convolutions(images))
        return objects

    def relate(self, objects: Tensor, questions: Tensor) -> Tensor:
        """Compute logits (B, 10) from objects (B, n, 26) and questions (B, 11): what is downstream of ``tag``."""
        logits: Tensor = self.readout(self.relation(objects, questions))
        return logits

    def forward(self, images: Tensor, questions: Tensor) -> Tensor:
        """Answer a question (B, 11) about each image (B, 3, 75, 75), rgb / 255, by logits (B, 10) of the `ANSWERS`."""
        return self.relate(self.objects(images), questions)


def relation_network(*, pretrained: bool = True) -> RelationNetwork:
    """Build the network in evaluation mode, on the CPU, with the weights of the package or else with random ones."""
    return with_weights(RelationNetwork(), "sort-of-clevr", pretrained)
