"""Real JAX, on the CPU."""

from __future__ import annotations

import threading
import time

import jax
import jax.numpy as jnp
import pytest

import runstream


def test_arrays_that_the_next_step_donates_are_stored_with_their_values(run, client):
    step = jax.jit(lambda state: {"lr": state["lr"] * 0.5, "n": state["n"] + 1}, donate_argnums=0)
    state = {"lr": jnp.float32(1.0), "n": jnp.int32(0)}
    expected = []
    for number in range(200):
        state = step(state)
        run.log({"lr": state["lr"], "n": state["n"]}, step=number)
        expected.append(0.5 ** (number + 1))
    assert run.flush(20)
    assert list(client.history(run.run_id, "n").values) == [float(n + 1) for n in range(200)]
    stored = list(client.history(run.run_id, "lr").values)
    assert stored[:100] == expected[:100]
    assert len(stored) == 200


@jax.jit
def slow(seed: jax.Array) -> jax.Array:
    """Some tenths of a second on one core."""
    return jax.lax.fori_loop(0, 60, lambda _, m: jnp.tanh(m @ m), jnp.full((500, 500), seed))[0, 0]


def test_log_does_not_wait_for_a_value_that_is_being_computed(run, client):
    value = slow(jnp.float32(0.001))
    jax.block_until_ready(value)
    run.log({"warm": slow(jnp.float32(0.002))})  # compiles the copy
    began = time.perf_counter()
    value = slow(jnp.float32(0.003))
    if value.is_ready():
        pytest.skip("JAX computes at once here")
    run.log({"loss": value}, step=0)
    logged_s = time.perf_counter() - began
    waiting = not value.is_ready()
    jax.block_until_ready(value)
    assert waiting, f"log() returned after {logged_s:.3f} s, with the value computed"
    assert run.flush(20)
    assert list(client.history(run.run_id, "loss").values) == [float(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (jnp.float32(0.5), 0.5),
        (jnp.bfloat16(1.5), 1.5),
        (jnp.int32(3), 3.0),
        (jnp.ones(()) > 0, 1.0),
        (jnp.ones(1), 1.0),
        (jnp.ones((1, 1, 1)), 1.0),
        (jnp.float32("nan"), None),
    ],
    ids=str,
)
def test_arrays_with_one_element_are_values(run, client, value, expected):
    run.log({"value": value}, step=0)
    assert run.flush(20)
    (stored,) = client.history(run.run_id, "value").values
    assert stored == expected or (expected is None and stored != stored)


def test_arrays_on_several_devices_are_values(run, client):
    assert jax.device_count() == 2
    mesh = jax.make_mesh((jax.device_count(),), ("x",))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    step = jax.jit(lambda x: x + 1, out_shardings=replicated, donate_argnums=0)
    loss = jax.device_put(jnp.float32(0.0), replicated)
    for number in range(20):
        loss = step(loss)
        run.log({"loss": loss}, step=number)
    assert run.flush(20)
    assert list(client.history(run.run_id, "loss").values) == [float(n + 1) for n in range(20)]


def test_what_is_no_number_is_refused_and_named(run, caplog):
    donate = jax.jit(lambda x: x * 2, donate_argnums=0)
    donated = jnp.float32(1.0)
    donate(donated)

    @jax.jit
    def traced(x: jax.Array) -> jax.Array:
        run.log({"traced": x, "good": 1.0}, step=0)
        return x

    traced(jnp.float32(1.0))
    run.log(
        {"donated": donated, "complex": jnp.complex64(1j), "key": jax.random.key(0), "wide": jnp.ones(2), "good": 1.0},
        step=1,
    )
    assert run.flush(20)
    assert dict(run.stats().refused) == {"bad_value": 5}
    assert run.stats().acknowledged == 2
    for words in (
        "'traced' is jax",
        "JAX is tracing the function that calls log()",
        "'donated' is a JAX array that was donated before log()",
        "'complex' is",
        "'wide' is",
    ):
        assert words in caplog.text


def test_steps_may_be_arrays(run, client):
    for step in (jnp.int32(3), jnp.uint8(4), jnp.float32(5.0), jnp.ones(1, int) * 6):
        run.log({"loss": 1.0, "lr": jnp.float32(0.5)}, step=step)
    run.log({"loss": 1.0}, step=jnp.float32(7.5))
    assert run.flush(20)
    for key in ("loss", "lr"):
        assert list(client.history(run.run_id, key).steps) == [3, 4, 5, 6]
    assert dict(run.stats().refused) == {"bad_step": 1}


def test_a_callback_of_a_traced_function_may_log(run, client):
    @jax.jit
    def train(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda value: run.log({"loss": value}, step=0), x)
        return x

    train(jnp.float32(2.5)).block_until_ready()
    jax.effects_barrier()
    assert run.flush(20)
    assert list(client.history(run.run_id, "loss").values) == [2.5]


def test_many_values_of_two_threads_are_all_stored(run, client):
    def train(key: str) -> None:
        x = jnp.float32(0.0)
        for step in range(300):
            x = x + 1
            run.log({key: x}, step=step)

    threads = [threading.Thread(target=train, args=(key,)) for key in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.flush(20)
    for key in ("a", "b"):
        assert list(client.history(run.run_id, key).values) == [float(n + 1) for n in range(300)]


def test_a_run_as_a_context_manager_ends_with_all_values(serve, client):
    with runstream.start_run("frameworks", address=serve.grpc_address) as run:
        run.log({"loss": slow(jnp.float32(0.004))}, step=0)
    assert len(client.history(run.run_id, "loss")) == 1
    assert client.get_run(run.run_id).status == "FINISHED"
