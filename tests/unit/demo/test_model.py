"""The model of the demo learns."""

from __future__ import annotations

import numpy as np
import pytest

from runstream_service.demo.model import Momentum, Perceptron, Samples, augmented, load_digits


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    train, _ = load_digits()
    batch = Samples(train.images[:20], train.digits[:20])
    model = Perceptron(8, seed=3)
    gradient = model.learn(batch).gradient
    for place in np.random.default_rng(0).integers(0, len(gradient), 30):
        losses = []
        for nudge in (1e-6, -2e-6):
            model.parameters[place] += nudge
            losses.append(model.learn(batch).loss)
        model.parameters[place] += 1e-6
        assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-6)


def test_it_learns() -> None:
    train, test = load_digits()
    model, random = Perceptron(32, seed=1), np.random.default_rng(0)
    optimizer = Momentum(model.parameters, rate=0.1, steps=300)
    before = model.accuracy(test)
    for step in range(300):
        chosen = random.integers(0, len(train), 64)
        optimizer.update(model.learn(Samples(train.images[chosen], train.digits[chosen])).gradient, step)
    assert before < 0.3
    assert model.accuracy(test) > 0.9


def test_shards_are_the_whole_without_overlap() -> None:
    train, _ = load_digits()
    shards = [train.shard(rank, 4) for rank in range(4)]
    assert sum(map(len, shards)) == len(train)
    assert {image.tobytes() for shard in shards for image in shard.images} == {
        image.tobytes() for image in train.images
    }


def test_augmented_images_are_moved_by_at_most_a_pixel() -> None:
    image = np.zeros((200, 64))
    image[:, 3 * 8 + 3] = 10.0
    brightest = augmented(image, np.random.default_rng(0)).argmax(1)
    rows, columns = brightest // 8, brightest % 8
    assert set(rows) == set(columns) == {2, 3, 4}
