"""What the configs of these tests name: what users may have, and what is wrong with some of it."""

from __future__ import annotations

import random
import zlib
from typing import Any, Callable, Iterable, Iterator, List

import numpy
from spacy.language import Language
from spacy.training import Example
from spacy.util import registry
from thinc.api import Linear, Model, PyTorchWrapper_v3, Softmax_v2, chain, with_array
from thinc.shims import Shim

# Of the process that trains. What it has seen is what differs or is the same from rank to rank.
rank = 0
seen: List[Any] = []

Callback = Callable[[Language, Any], None]


@registry.callbacks("test.see_weights.v1")
def see_weights() -> Callback:
    """Before each step, see a checksum of all weights."""

    def before_update(nlp: Language, _: Any) -> None:
        models = [pipe.model for _, pipe in nlp.pipeline if hasattr(pipe, "model")]
        arrays = [
            node.get_param(name)
            for model in models
            for node in model.walk()
            for name in node.param_names
            if node.has_param(name)
        ]
        shims = [shim for model in models for node in model.walk() for shim in node.shims]
        seen.append(
            zlib.crc32(b"".join([a.tobytes() for a in arrays] + [s.to_bytes() for s in shims]))
        )

    return before_update


@registry.callbacks("test.see_draws.v1")
def see_draws() -> Callback:
    """Before each step, see what is drawn next in training."""

    def before_update(nlp: Language, _: Any) -> None:
        import torch

        seen.append([random.random(), numpy.random.random(), float(torch.rand(()))])

    return before_update


def tagger_of(tok2vec: Model, *layers: Model) -> Model:
    head = Softmax_v2(nI=16)
    model = chain(tok2vec, with_array(chain(*layers, head)))
    model.set_ref("softmax", head)
    return model


@registry.architectures("test.Wrapped.v1")
def wrapped(tok2vec: Model, wrapper: str, norm: str, mixed: bool = False) -> Model:
    """With a module of PyTorch's in the wrapper of ours or of Thinc's."""
    import torch
    from spacy_frameworks.wrappers import PyTorchWrapper

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(96, 16), getattr(torch.nn, norm)(16), torch.nn.ReLU()
    )
    wrap = {"ours": PyTorchWrapper, "Thinc's": PyTorchWrapper_v3}[wrapper]
    return tagger_of(tok2vec, wrap(module, mixed_precision=mixed))


@registry.architectures("test.OtherShim.v1")
def other_shim(tok2vec: Model) -> Model:
    """With a shim that nobody knows."""
    layer = Linear(16, 96)
    layer.shims.append(Shim(None))
    return tagger_of(tok2vec, layer)


@registry.architectures("test.OtherWeights.v1")
def other_weights(tok2vec: Model) -> Model:
    """With weights that are others in each process."""
    layer = Linear(16, 96, init_W=lambda ops, shape: ops.alloc_f(shape) + rank)
    return tagger_of(tok2vec, layer)


@registry.batchers("test.OtherBatches.v1")
def other_batches() -> Callable[[Iterable[Example]], Iterator[List[Example]]]:
    """With an order that is another in each process."""

    def batched(examples: Iterable[Example]) -> Iterator[List[Example]]:
        examples = list(examples)
        yield from ([example] for example in examples[rank:])

    return batched
