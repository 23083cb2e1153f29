"""A tagger whose network is written by hand, in each framework: made, trained, evaluated, saved and
loaded.

    python tagger_from_scratch.py --framework PyTorch
    python tagger_from_scratch.py --framework all --train train.spacy --dev dev.spacy

Without files of your own it trains on the sample that comes with spacy-frameworks.
"""

import random
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy
import spacy
import typer
from rich.console import Console
from rich.progress import track
from spacy.language import Language
from spacy.ml import CharacterEmbed
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch, registry
from spacy_frameworks import wrappers
from spacy_frameworks.architectures import softmax_output
from spacy_frameworks.training import create_corpus
from thinc.api import Adam, Model, chain, with_array

HIDDEN = 64

# 1. The network, once in each framework. Each function is handed to a wrapper, and is called when
#    the number of tags (nO) and the width of a token's vector (nI) are known. It is imported there,
#    so that nobody needs all frameworks to be installed. Each network ends in logits.


def pytorch_network(nO: int, nI: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(nI, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, nO))


def tensorflow_network(nO: int, nI: int) -> Any:
    from keras import Sequential, layers

    return Sequential([layers.Dense(HIDDEN, activation="gelu"), layers.Dense(nO)])


def mxnet_network(nO: int, nI: int) -> Any:
    from mxnet.gluon import nn

    network = nn.HybridSequential()
    network.add(nn.Dense(HIDDEN), nn.GELU(), nn.Dense(nO))
    return network


def jax_network(nO: int, nI: int) -> Any:
    """In JAX, a function and the parameters that it starts from."""
    import jax

    def network(params: Dict[str, Any], X: Any) -> Any:
        hidden = jax.nn.gelu(X @ params["W1"] + params["b1"])
        return hidden @ params["W2"] + params["b2"]

    def draw(rows: int, columns: int) -> Any:
        limit = (6 / (rows + columns)) ** 0.5
        return numpy.random.uniform(-limit, limit, (rows, columns)).astype("float32")

    start = {
        "W1": draw(nI, HIDDEN),
        "b1": numpy.zeros(HIDDEN, dtype="float32"),
        "W2": draw(HIDDEN, nO),
        "b2": numpy.zeros(nO, dtype="float32"),
    }
    return network, start


# 2. Each with its wrapper.
NETWORKS: Dict[str, Callable[[], Model]] = {
    "PyTorch": lambda: wrappers.PyTorchWrapper(pytorch_network),
    "TensorFlow": lambda: wrappers.TensorFlowWrapper(tensorflow_network),
    "MXNet": lambda: wrappers.MXNetWrapper(mxnet_network),
    "JAX": lambda: wrappers.JAXWrapper(jax_network),
}


# 3. The model: spaCy's embedding of a word's characters, the network for each token, softmax. It
#    has a name, so that a config can name it, and a saved pipeline is made again from its config.


@registry.architectures("tagger_from_scratch.v1")
def build_model(framework: str, width: int = 64) -> Model:
    embed = CharacterEmbed(width, 1000, 32, 8, include_static_vectors=False)
    return chain(embed, with_array(chain(NETWORKS[framework](), softmax_output())))


# 4. A pipeline with it, trained step by step.


def train_tagger(framework: str, examples: List[Example], epochs: int, seed: int) -> Language:
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    model = {"@architectures": "tagger_from_scratch.v1", "framework": framework}
    nlp.add_pipe("tagger", config={"model": model})
    optimizer = nlp.initialize(lambda: examples, sgd=Adam(0.003))
    for _ in track(range(epochs), description=f"{framework:10}", console=Console(stderr=True)):
        random.shuffle(examples)
        for batch in minibatch(examples, size=8):
            nlp.update(batch, sgd=optimizer)
    return nlp


def main(
    framework: str = typer.Option("PyTorch", help=f"{', '.join(NETWORKS)}, or all"),
    train: Optional[Path] = typer.Option(
        None, exists=True, help="A .spacy file with tags; else the sample"
    ),
    dev: Optional[Path] = typer.Option(None, exists=True, help="Another one, to evaluate on"),
    epochs: int = typer.Option(3, min=1, help="How often to go through the training data"),
    limit: int = typer.Option(0, min=0, help="How many docs of it to take; 0 for all"),
    seed: int = typer.Option(0, help="Of all random numbers"),
    output: Path = typer.Option(Path("taggers"), help="Where to save the pipelines"),
) -> None:
    """Train a tagger whose network is written by hand, and evaluate what was saved."""
    named = [name for name in NETWORKS if framework.lower() in ("all", name.lower())]
    if not named:
        raise typer.BadParameter(f"{framework!r}: expected {', '.join(NETWORKS)}, or all")
    if (train is None) != (dev is None):
        raise typer.BadParameter("Give both --train and --dev, or neither.")
    paths = {"train": train, "dev": dev}
    for name in named:
        # Examples belong to the vocabulary with which they were read, and here to one training.
        blank = spacy.blank("en")
        examples = list(create_corpus(paths, "train", limit=limit)(blank))
        nlp = train_tagger(name, examples, epochs, seed)
        (output / name).mkdir(parents=True, exist_ok=True)
        nlp.to_disk(output / name)

        # As another program would: it imports this file, and loads the folder.
        loaded = spacy.load(output / name)
        score = loaded.evaluate(list(create_corpus(paths, "dev")(loaded)))["tag_acc"]
        print(f"{name}: {score:.3f} of the tags are right, saved in {output / name}")


if __name__ == "__main__":
    typer.run(main)
