"""Real Keras, on PyTorch."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from runstream.keras import RunstreamCallback
from tests.frameworks.stored import points_of

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras' own, of small trainings


class FailsAt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise RuntimeError("lost")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse", metrics=["mae"])
    return model


def fit(model, *callbacks, **options):
    x = np.random.default_rng(0).normal(size=(40, 2))
    chosen = {"epochs": 3, "batch_size": 4, "validation_split": 0.2, "verbose": 0, **options}
    return model.fit(x, x.sum(axis=1), callbacks=list(callbacks), **chosen)


def test_a_run_has_the_history_of_the_training(serve, client, model, caplog):
    callback = RunstreamCallback("keras", "line", every_n_batches=3, address=serve.grpc_address)
    history = fit(model, callback).history
    run = client.get_run(callback._run.run_id)
    assert (run.name, run.status) == ("line", "FINISHED")
    assert (run.params["optimizer/name"], run.params["optimizer/learning_rate"], run.params["epochs"]) == (
        "sgd", "0.25", "3",
    )  # fmt: skip
    points = points_of(client, run.run_id)
    assert history.keys() == {"loss", "mae", "val_loss", "val_mae"}
    for key, values in history.items():
        assert dict(points[key]) == pytest.approx(dict(enumerate(values)))
    # Eight batches an epoch.
    assert [step for step, _ in points["batch/loss"]] == list(range(3, 25, 3))
    assert points["batch/loss"][-1][1] == pytest.approx(history["loss"][-1])
    assert not [record for record in caplog.records if record.name == "runstream"]


def test_a_training_that_goes_on_goes_on_in_its_run_and_so_does_an_evaluation(serve, client, model):
    callback = RunstreamCallback("keras", every_n_batches=8, address=serve.grpc_address)
    fit(model, callback, epochs=1)
    fit(model, callback, epochs=3, initial_epoch=1)
    model.evaluate(np.ones((4, 2)), np.ones(4), verbose=0, callbacks=[callback])
    points = points_of(client, callback._run.run_id)
    assert [step for step, _ in points["loss"]] == [0, 1, 2]
    assert [step for step, _ in points["batch/loss"]] == [8, 16, 24]
    assert [step for step, _ in points["test_loss"]] == [2]
    assert client.get_run(callback._run.run_id).status == "FINISHED"


def test_batches_are_counted_where_keras_takes_several_at_once(serve, client, model):
    callback = RunstreamCallback("keras", every_n_batches=3, address=serve.grpc_address)
    # As `fit` with steps_per_execution=4, which Keras has with TensorFlow and JAX only.
    callbacks = keras.callbacks.CallbackList([callback], model=model, epochs=2)
    callbacks.on_train_begin()
    for epoch in range(2):
        callbacks.on_epoch_begin(epoch)
        for last_batch in (3, 7):
            callbacks.on_train_batch_end(last_batch, {"loss": 1.0})
        callbacks.on_epoch_end(epoch, {"loss": 1.0})
    callbacks.on_train_end()
    assert [step for step, _ in points_of(client, callback._run.run_id)["batch/loss"]] == [4, 8, 12, 16]


def test_a_training_that_was_cut_off_is_failed_when_the_next_one_begins(serve, client, model):
    callback = RunstreamCallback("keras", address=serve.grpc_address)
    with pytest.raises(RuntimeError):
        fit(model, callback, FailsAt())
    first = callback.run
    fit(model, callback, epochs=1)
    assert first._finished
    assert callback.run is not first
    callback.on_train_end()
    assert client.get_run(first.run_id).status == "FINISHED"


def test_other_ranks_log_only_if_they_are_asked_to(serve, client, model, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("RUNSTREAM_RUN_ID", run_id := "5" * 32)
    fit(model, RunstreamCallback("keras", address=serve.grpc_address), epochs=1)
    callback = RunstreamCallback("keras", all_ranks=True, address=serve.grpc_address)
    fit(model, callback, epochs=2)
    assert {rank: len(points_of(client, run_id, rank=rank).get("loss", ())) for rank in (0, 1)} == {0: 0, 1: 2}


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_batches_raises(wrong):
    with pytest.raises((TypeError, ValueError), match="every_n_batches"):
        RunstreamCallback(every_n_batches=wrong)
