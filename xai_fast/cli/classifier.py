"""An image classifier as the command line's options name it."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xai_fast import __version__
from xai_fast.engine.call import default_rows
from xai_fast.errors import InputError, bad_argument
from xai_fast.suites import ImageModel, load

__all__ = ["Classifier", "check_at_least", "chosen_device", "model_hash"]


def check_at_least(options: object, least: Mapping[str, int]) -> None:
    """Check numbers among the options of a run.

    Args:
        options: have the numbers as attributes; None is fine.
        least: attribute to the smallest that is allowed.

    Raises:
        InputError: one is smaller; the message has its name on the command line.
    """
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise bad_argument(f"--{name.replace('_', '-')}", f"an integer, at least {low}", str(value))


class Classifier:
    """A model on its device, with the class that is explained.

    Args:
        name: of the model, as `xai_fast.suites.load` takes it.
        target: number or name of a class, or None for the predicted one.
        device: "auto", or a name that torch knows.
        batch_size: rows that go through the model at once; None to choose.
        top_k_classes: predicted classes that are told.

    Raises:
        InputError: there is no such model, class or device.
    """

    def __init__(
        self, name: str, *, target: str | None, device: str, batch_size: int | None, top_k_classes: int
    ) -> None:
        self.device = chosen_device(device)
        self.image_model: ImageModel = load(name)
        self.image_model.model.to(self.device)
        self.target = _target(target, self.image_model)
        self.top_k_classes = top_k_classes
        self._batch_size = batch_size

    @property
    def rows(self) -> int:
        """Pictures that go through the model at once."""
        height, width = self.image_model.size
        return self._batch_size or default_rows(3 * height * width, self.device)

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Compute class probabilities.

        Args:
            inputs: (B, 3, H, W) in the model's input units, on its device.

        Returns:
            (B, C) on the CPU; one output is a binary classifier's logit.

        Raises:
            InputError: the model does not return logits.
        """
        with torch.no_grad():
            outputs = [self.image_model.model(part) for part in torch.split(inputs, self.rows)]
        if not all(isinstance(output, Tensor) and output.ndim in (1, 2) for output in outputs):
            raise InputError("model: expected logits (B, C) from the model, got something else; wrap it in a module")
        logits = torch.cat(outputs).float().cpu()
        logits = logits[:, None] if logits.ndim == 1 else logits
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)

    def strongest(self, probabilities: Tensor) -> tuple[tuple[int, str, float], ...]:
        """Give (number, name, probability) of the most probable classes, of probabilities (C,)."""
        values, classes = probabilities.topk(min(self.top_k_classes, len(probabilities)))
        return tuple(
            (c, self.image_model.class_name(c), p) for c, p in zip(classes.tolist(), values.tolist(), strict=True)
        )

    def fingerprint(self, method: Mapping[str, object]) -> str:
        """Give a hash of all that a result depends on, beside the picture itself.

        Args:
            method: the options of the method, by name.

        Returns:
            32 hexadecimal digits.
        """
        model = self.image_model
        depends_on = {
            "version": __version__,
            "method": dict(method),
            "target": self.target,
            "classes": self.top_k_classes,
            "class_names": model.class_names,
            "preparation": [model.size, model.mean, model.std, model.margin],
            "model": model_hash(model.model),
        }
        text = json.dumps(depends_on, sort_keys=True)
        return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


def model_hash(model: nn.Module) -> str:
    """Give a hash of a model's layers, parameters and buffers.

    Args:
        model: any module.

    Returns:
        32 hexadecimal digits.
    """
    state = hashlib.blake2b(repr(model).encode("utf-8"), digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        state.update(f"{name} {getattr(value, 'dtype', None)} {getattr(value, 'shape', None)}".encode())
        if isinstance(value, Tensor):
            state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def chosen_device(name: str) -> torch.device:
    """Read the option --device.

    Args:
        name: "auto", or a name that torch knows.

    Returns:
        The device.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise bad_argument("--device", "auto, cpu, cuda or cuda:N", repr(name)) from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise bad_argument("--device", "a device that this installation of torch can use", repr(name))
    return device


def _target(wanted: str | None, model: ImageModel) -> int | None:
    if wanted is None:
        return None
    if wanted.strip().isdecimal():
        return int(wanted)
    names = [name.casefold() for name in model.class_names or ()]
    if wanted.casefold() in names:
        return names.index(wanted.casefold())
    near = difflib.get_close_matches(wanted.casefold(), names, n=3)
    hint = f" such as {', '.join(repr(model.class_name(names.index(name))) for name in near)}" if near else ""
    raise bad_argument("--target", f"a class number, or the name of a class of {model.name}{hint}", repr(wanted))
