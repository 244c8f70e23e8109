"""The data and the model: scikit-learn's bundled digits, and a perceptron with one hidden layer in plain numpy."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

SIDE = 8  # pixels
CLASSES = 10


@dataclass(frozen=True)
class Samples:
    """Images of shape (n, 64) with pixels from 0 to 1, and their digits of shape (n,)."""

    images: Floats
    digits: Labels

    def __len__(self) -> int:
        return len(self.digits)

    def shard(self, rank: int, ranks: int) -> Samples:
        """Every `ranks`-th sample, from `rank` on."""
        return Samples(self.images[rank::ranks], self.digits[rank::ranks])


def load_digits(*, seed: int = 0) -> tuple[Samples, Samples]:
    """The 1,797 digits, shuffled: four fifths to train with, one fifth to test with."""
    rows = np.loadtxt(_digits_file(), delimiter=",")
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    samples = Samples(rows[:, :-1] / 16.0, rows[:, -1].astype(np.int64))
    cut = len(samples) * 4 // 5
    return (
        Samples(samples.images[:cut], samples.digits[:cut]),
        Samples(samples.images[cut:], samples.digits[cut:]),
    )


def _digits_file() -> Path:
    """The data set in the installed scikit-learn. Only the file is read, since importing scikit-learn takes seconds."""
    installed = importlib.util.find_spec("sklearn")
    if installed is None or not installed.submodule_search_locations:
        raise ModuleNotFoundError("scikit-learn is not installed", name="sklearn")
    return Path(installed.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")


def augmented(images: Floats, generator: np.random.Generator) -> Floats:
    """The images, moved by up to one pixel in both directions and with noise, so that the model cannot memorise
    them."""
    count = len(images)
    padded = np.pad(images.reshape(count, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    down, right = generator.integers(0, 3, size=(2, count, 1, 1))
    rows, columns = np.arange(SIDE)[:, None] + down, np.arange(SIDE)[None, :] + right
    moved = padded[np.arange(count)[:, None, None], rows, columns].reshape(count, SIDE * SIDE)
    noisy: Floats = moved + generator.normal(0, 0.1, moved.shape)
    return noisy


@dataclass(frozen=True)
class Outcome:
    """The result of one batch: mean cross-entropy, share of right answers, and the gradient in the shape of the
    parameters."""

    loss: float
    accuracy: float
    gradient: Floats


class Perceptron:
    """64 pixels -> hidden units with ReLU -> 10 classes. All parameters are in one flat array, for the exchange."""

    def __init__(self, hidden: int, *, seed: int) -> None:
        shapes = {"w1": (SIDE * SIDE, hidden), "b1": (hidden,), "w2": (hidden, CLASSES), "b2": (CLASSES,)}
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        self.parameters: Floats = np.zeros(sum(sizes))
        cuts = np.split(self.parameters, np.cumsum(sizes)[:-1])  # views, not copies
        self._w1, self._b1, self._w2, self._b2 = (
            cut.reshape(shape) for cut, shape in zip(cuts, shapes.values(), strict=True)
        )
        generator = np.random.default_rng(seed)  # the same seed: every rank begins with the same replica
        for weights in (self._w1, self._w2):
            weights[:] = generator.normal(0, np.sqrt(2 / len(weights)), weights.shape)

    def learn(self, samples: Samples) -> Outcome:
        """The loss and the gradient of one batch; changes no parameters."""
        count = len(samples)
        hidden = np.maximum(samples.images @ self._w1 + self._b1, 0)
        probabilities = _softmax(hidden @ self._w2 + self._b2)
        right = probabilities[np.arange(count), samples.digits]
        upper = probabilities.copy()
        upper[np.arange(count), samples.digits] -= 1
        upper /= count
        lower = (upper @ self._w2.T) * (hidden > 0)
        gradient = np.concatenate(
            [(samples.images.T @ lower).ravel(), lower.sum(0), (hidden.T @ upper).ravel(), upper.sum(0)]
        )
        hits = probabilities.argmax(1) == samples.digits
        return Outcome(float(-np.log(right + 1e-12).mean()), float(hits.mean()), gradient)

    def accuracy(self, samples: Samples) -> float:
        """The share of samples whose digit the model recognises."""
        hidden = np.maximum(samples.images @ self._w1 + self._b1, 0)
        return float(((hidden @ self._w2 + self._b2).argmax(1) == samples.digits).mean())


class Momentum:
    """Gradient descent with momentum. The learning rate falls from `rate` to zero along a cosine over `steps`."""

    def __init__(self, parameters: Floats, *, rate: float, steps: int) -> None:
        self._parameters = parameters
        self.velocity: Floats = np.zeros_like(parameters)
        self._rate = rate
        self._steps = steps

    def update(self, gradient: Floats, step: int) -> None:
        """Makes one step, in place."""
        self.velocity *= 0.9
        self.velocity += gradient
        rate = self._rate * 0.5 * (1 + np.cos(np.pi * step / self._steps))
        self._parameters -= rate * self.velocity


def clipped(gradient: Floats, *, norm: float) -> Floats:
    """The gradient, scaled to this norm if it is longer; zeros if it is not finite, as with mixed precision."""
    length = float(np.linalg.norm(gradient))
    if not np.isfinite(length):
        return np.zeros_like(gradient)
    return gradient if length <= norm else gradient * (norm / length)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares
