"""Several threads, close() and fork()."""

import os
import threading
import time

import numpy as np
import pytest
from conftest import GOLDEN

import frieze


def deep_model(rng, size, blocks):
    g = frieze.Graph()
    x = v = g.input("x", (1, 8, size, size))
    w = (rng.standard_normal((8, 8, 3, 3)) / 9).astype(np.float32)
    for _ in range(blocks):
        v = g.silu(g.conv2d(v, w, padding=1))
    return g.compile(x + v, device="cpu")


def run_together(work, count):
    """work(i) in `count` threads; what they raised."""
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)
    return errors


def test_threads_on_one_model_get_their_own_answers(rng):
    model = deep_model(rng, 24, 3)
    inputs = [np.full((1, 8, 24, 24), 0.1 * (i + 1), np.float32) for i in range(4)]
    expected = [model(x) for x in inputs]

    def work(i):
        for _ in range(60):
            np.testing.assert_array_equal(model(inputs[i]), expected[i])

    assert not run_together(work, 4)


def test_threads_on_one_autoencoder_and_on_two(rng):
    models = [frieze.Autoencoder.from_pretrained(GOLDEN / "sana", device="cpu", tune=False) for _ in range(2)]
    inputs = [np.full((1, 3, 16, 8 * (1 + i % 2)), 0.1 * i, np.float32) for i in range(4)]
    expected = [models[0].encode(x).latent for x in inputs]

    def work(i):
        for k in range(20):
            np.testing.assert_array_equal(models[k % 2].encode(inputs[i]).latent, expected[i])

    assert not run_together(work, 4)


def test_other_threads_run_meanwhile(rng):
    model = deep_model(rng, 160, 6)
    x = np.ones((1, 8, 160, 160), np.float32)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.2:
        last = time.perf_counter()
        model(x)
        end = time.perf_counter()
    stop.set()
    thread.join(10)
    inside = [t for t in ticks if last < t < end]
    assert inside, f"no tick in a call of {end - last:.3f} s: the GIL was held"


def test_close(rng):
    model = deep_model(rng, 120, 4)
    x = np.ones((1, 8, 120, 120), np.float32)
    outcomes = []

    def work():
        try:
            while True:
                model(x)
                outcomes.append("ran")
        except frieze.Error as e:
            outcomes.append(str(e))

    thread = threading.Thread(target=work)
    thread.start()
    while not outcomes:
        time.sleep(0.005)
    model.close()
    model.close()
    thread.join(30)
    assert not thread.is_alive() and outcomes[-1] == "this model was closed"
    for action in (lambda: model(x), model.receipt, model.verify):
        with pytest.raises(frieze.Error, match="closed"):
            action()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["graph", "autoencoder", "denoiser"])
def test_a_forked_process_is_told(rng, kind):
    if kind == "graph":
        model, x = deep_model(rng, 8, 1), np.ones((1, 8, 8, 8), np.float32)
    elif kind == "autoencoder":
        model, x = frieze.Autoencoder.from_pretrained(GOLDEN / "lite", device="cpu"), np.zeros((1, 3, 32, 32), np.float32)
    else:
        model, x = frieze.Denoiser("cpu"), np.zeros((3, 16, 16), np.float32)
    model(x)
    child = os.fork()
    if child == 0:
        try:
            model(x)
            os._exit(1)
        except frieze.Error as e:
            os._exit(0 if "fork" in str(e) else 2)
        except BaseException:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    model(x)
