"""What a wrapped network costs against its framework's own loop, and against Thinc's wrapper.

    python -m benchmarks.adapters

A step is a forward pass, a backward pass down to the input's gradient, and Adam, for 1500 rows of
width 96 and 50 outputs. The framework's own loop does the same on tensors that are there already,
with the same formula of Adam (clipped by the gradient's norm, as Thinc's default does) in its own
operations; TensorFlow's is one traced function.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable, Dict, List, Optional

import numpy
import typer
from spacy_frameworks import wrappers
from spacy_frameworks.wrappers.framework import FRAMEWORKS, is_installed
from thinc.api import Adam, Model

Function = Callable[[], Any]
ROWS, NI, NO = 1500, 96, 50
RATE, B1, B2, EPS, CLIP = 0.001, 0.9, 0.999, 1e-8, 1.0


def corrected_rate(step: int) -> float:
    return RATE * (1 - B2**step) ** 0.5 / (1 - B1**step)


def thinc_step(model: Model, X: Any, dY: Any) -> Function:
    optimizer = Adam(RATE, use_averages=False)

    def step() -> None:
        _, backprop = model.begin_update(X)
        backprop(dY)
        model.finish_update(optimizer)

    return step


def pytorch(hidden: int, X: Any, dY: Any) -> Dict[str, Function]:
    import torch
    from thinc.api import PyTorchWrapper_v3

    def module() -> Any:
        return torch.nn.Sequential(
            torch.nn.Linear(NI, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, NO)
        )

    own, x, dy = module(), torch.from_numpy(X).requires_grad_(), torch.from_numpy(dY)
    parameters = list(own.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        x.grad = None
        own(x).backward(dy)
        rate = corrected_rate(steps)
        with torch.no_grad():
            for p, (m, v) in zip(parameters, moments):
                norm = p.grad.norm()
                if norm >= CLIP:
                    p.grad.mul_(CLIP / norm)
                m.mul_(B1).add_(p.grad, alpha=1 - B1)
                v.mul_(B2).addcmul_(p.grad, p.grad, value=1 - B2)
                p.addcdiv_(m, v.sqrt().add_(EPS), value=-rate)
                p.grad.zero_()

    def predict() -> Any:
        with torch.no_grad():
            return own(x)

    ours, thincs = wrappers.PyTorchWrapper(module()), PyTorchWrapper_v3(module())
    return {
        "own": step,
        "ours": thinc_step(ours, X, dY),
        "thinc": thinc_step(thincs, X, dY),
        "predict own": predict,
        "predict ours": lambda: ours.predict(X),
    }


def tensorflow(hidden: int, X: Any, dY: Any) -> Dict[str, Function]:
    import keras
    import tensorflow as tf

    def module() -> Any:
        return keras.Sequential(
            [
                keras.Input((NI,)),
                keras.layers.Dense(hidden, activation="relu"),
                keras.layers.Dense(NO),
            ]
        )

    own, x, dy = module(), tf.constant(X), tf.constant(dY)
    parameters = [v.value for v in own.trainable_variables]
    moments = [(tf.Variable(tf.zeros_like(p)), tf.Variable(tf.zeros_like(p))) for p in parameters]
    steps = tf.Variable(0.0)

    @tf.function
    def step(x: Any, dy: Any) -> Any:
        steps.assign_add(1.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = own(x, training=True)
        dx, *gradients = tape.gradient(y, [x, *parameters], output_gradients=dy)
        rate = RATE * (1 - B2**steps) ** 0.5 / (1 - B1**steps)
        for p, g, (m, v) in zip(parameters, gradients, moments):
            g = tf.clip_by_norm(g, CLIP)
            m.assign(B1 * m + (1 - B1) * g)
            v.assign(B2 * v + (1 - B2) * g * g)
            p.assign_sub(rate * m / (tf.sqrt(v) + EPS))
        return dx

    predict = tf.function(lambda x: own(x, training=False))
    ours = wrappers.TensorFlowWrapper(module())
    return {
        "own": lambda: step(x, dy),
        "ours": thinc_step(ours, X, dY),
        "predict own": lambda: predict(x),
        "predict ours": lambda: ours.predict(X),
    }


def mxnet(hidden: int, X: Any, dY: Any) -> Dict[str, Function]:
    import mxnet as mx
    from mxnet.gluon import nn

    def module() -> Any:
        block = nn.HybridSequential()
        block.add(nn.Dense(hidden, in_units=NI, activation="relu"), nn.Dense(NO, in_units=hidden))
        block.initialize()
        block.hybridize()
        return block

    own, x, dy = module(), mx.nd.array(X), mx.nd.array(dY)
    x.attach_grad()
    parameters = [(p.data(), p.grad()) for p in own.collect_params().values()]
    moments = [(mx.nd.zeros_like(p), mx.nd.zeros_like(p)) for p, _ in parameters]
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        with mx.autograd.record():
            y = own(x)
        y.backward(dy)
        rate = corrected_rate(steps)
        for (p, g), (m, v) in zip(parameters, moments):
            norm = g.norm().asscalar()
            if norm >= CLIP:
                g *= CLIP / norm
            mx.nd.adam_update(p, g, m, v, out=p, lr=rate, beta1=B1, beta2=B2, epsilon=EPS)
        mx.nd.waitall()

    def predict() -> Any:
        y = own(x)
        y.wait_to_read()
        return y

    ours = wrappers.MXNetWrapper(module())
    return {
        "own": step,
        "ours": thinc_step(ours, X, dY),
        "predict own": predict,
        "predict ours": lambda: ours.predict(X),
        **mxnet_of_thinc(module(), X, dY),
    }


def mxnet_of_thinc(module: Any, X: Any, dY: Any) -> Dict[str, Function]:
    import mxnet as mx
    import thinc.compat
    from thinc.layers import MXNetWrapper
    from thinc.shims import mxnet as shim

    thinc.compat.enable_mxnet()
    # Thinc's module looked for MXNet when it was imported.
    for name in ("thinc.util", "thinc.shims.mxnet", "thinc.layers.mxnetwrapper"):
        vars(__import__(name, fromlist=["_"])).update(mx=mx, has_mxnet=True)
    assert shim.mx is mx
    return {"thinc": thinc_step(MXNetWrapper(module), X, dY)}


def jax(hidden: int, X: Any, dY: Any) -> Dict[str, Function]:
    """JAX's own is two compiled functions, forward and backward, from NumPy's arrays and to them,
    and one for Adam."""
    import jax
    import jax.numpy as jnp

    def params() -> Any:
        rng = numpy.random.RandomState(0)
        shapes = {"W1": (NI, hidden), "b1": (hidden,), "W2": (hidden, NO), "b2": (NO,)}
        return {
            name: jnp.array(rng.normal(size=shape, scale=0.1), "float32")
            for name, shape in shapes.items()
        }

    def apply(p: Any, x: Any) -> Any:
        return jax.nn.relu(x @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]

    @jax.jit
    def adam(p: Any, g: Any, m: Any, v: Any, rate: Any) -> Any:
        g = jax.tree.map(lambda x: x * jnp.minimum(1, CLIP / jnp.linalg.norm(x)), g)
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, g)
        v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, g)
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPS), p, m, v)
        return p, m, v

    forward, predict = jax.jit(lambda p, x: jax.vjp(apply, p, x)), jax.jit(apply)
    backward = jax.jit(lambda go_back, dy: go_back(dy))
    own = params()
    m, v = (jax.tree.map(jnp.zeros_like, own) for _ in range(2))
    steps = 0

    def step() -> None:
        nonlocal own, m, v, steps
        steps += 1
        y, go_back = forward(own, X)
        numpy.asarray(y)
        gradients, dx = backward(go_back, dY)
        numpy.asarray(dx)
        own, m, v = jax.block_until_ready(adam(own, gradients, m, v, corrected_rate(steps)))

    ours = wrappers.JAXWrapper((apply, params()))
    return {
        "own": step,
        "ours": thinc_step(ours, X, dY),
        "predict own": lambda: numpy.asarray(predict(own, X)),
        "predict ours": lambda: ours.predict(X),
    }


def alternate(functions: Dict[str, Function], repeats: int) -> Dict[str, float]:
    """Median milliseconds of each, run in turn so that all see the same machine."""
    times: Dict[str, List[float]] = {name: [] for name in functions}
    for i in range(repeats + 10):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if i >= 10:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main(
    framework: Optional[List[str]] = typer.Option(None, help="Those to time; all."),
    repeats: int = typer.Option(200, help="Steps of each."),
) -> None:
    """Print a Markdown table of times in milliseconds, and their ratios."""
    rng = numpy.random.RandomState(0)
    X = rng.normal(size=(ROWS, NI)).astype("float32")
    dY = (rng.normal(size=(ROWS, NO)) / ROWS).astype("float32")
    print(
        "| framework | hidden | own step | ours | ratio | Thinc's wrapper | its ratio to ours |",
        end="",
    )
    print(" own prediction | ours | ratio |\n|" + " --- |" * 10)
    for fw in FRAMEWORKS:
        if not is_installed(fw.id) or (framework and fw.token not in framework):
            continue
        for hidden in (48, 256):
            # What is timed of a framework is made by the function of its name.
            t = alternate(globals()[fw.id](hidden, X, dY), repeats)
            thinc = (
                (f"{t['thinc']:.2f}", f"{t['thinc'] / t['ours']:.2f}") if "thinc" in t else ("", "")
            )
            cells = (
                fw.token,
                hidden,
                f"{t['own']:.2f}",
                f"{t['ours']:.2f}",
                f"{t['ours'] / t['own']:.2f}",
                *thinc,
                f"{t['predict own']:.2f}",
                f"{t['predict ours']:.2f}",
                f"{t['predict ours'] / t['predict own']:.2f}",
            )
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
