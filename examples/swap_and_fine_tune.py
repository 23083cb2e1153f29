"""A tagger that is trained in one framework, moved to another with its weights, and fine-tuned.

    python swap_and_fine_tune.py --first PyTorch --then Thinc
    python swap_and_fine_tune.py --first PyTorch --then JAX --train train.spacy --dev dev.spacy

Without files of your own it trains on the sample that comes with spacy-frameworks: on a few docs
first, as if no more had been there, and on all of them after the swap.
"""

import random
from pathlib import Path
from typing import List, Optional

import spacy
import typer
from rich.console import Console
from rich.progress import track
from spacy.language import Language
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from spacy_frameworks.architectures import swap_framework
from spacy_frameworks.training import create_corpus
from thinc.api import Adam


def train_on(nlp: Language, examples: List[Example], optimizer: Adam, epochs: int) -> None:
    for _ in track(range(epochs), description="training", console=Console(stderr=True)):
        random.shuffle(examples)
        for batch in minibatch(examples, size=8):
            nlp.update(batch, sgd=optimizer)


def save(nlp: Language, optimizer: Adam, folder: Path) -> Path:
    """Write a pipeline with the averages of its weights over the training, as `spacy train` does
    where the optimizer has `use_averages`. They are in the optimizer alone, and nothing saves
    that: what is not written now is lost."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with nlp.use_params(optimizer.averages):
        nlp.to_disk(folder)
    return folder


def main(
    first: str = typer.Option("PyTorch", help="PyTorch, TensorFlow, MXNet, JAX or Thinc"),
    then: str = typer.Option("Thinc", help="The framework to swap to"),
    train: Optional[Path] = typer.Option(None, exists=True, help="A .spacy file with tags"),
    dev: Optional[Path] = typer.Option(None, exists=True, help="Another one, to evaluate on"),
    few: int = typer.Option(20, min=1, help="How many docs to train on before the swap"),
    limit: int = typer.Option(0, min=0, help="How many docs after it; 0 for all"),
    epochs: int = typer.Option(3, min=1, help="How often to go through the docs, each time"),
    output: Path = typer.Option(Path("fine-tuned"), help="Where to save the pipelines"),
) -> None:
    """Train a tagger, swap its framework, train it further, and compare the scores."""
    if (train is None) != (dev is None):
        raise typer.BadParameter("Give both --train and --dev, or neither.")
    paths = {"train": train, "dev": dev}

    def score(nlp: Language) -> float:
        return nlp.evaluate(list(create_corpus(paths, "dev")(nlp)))["tag_acc"]

    # 1. Train. The architecture is one of the package's, which each framework has.
    fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-frameworks.Tagger.v1", "framework": first}
    nlp.add_pipe("tagger", config={"model": model})
    examples = list(create_corpus(paths, "train", limit=few)(nlp))
    optimizer = nlp.initialize(lambda: examples, sgd=Adam(0.003, use_averages=True))
    # So few docs are gone through more often.
    train_on(nlp, examples, optimizer, 3 * epochs)
    trained = save(nlp, optimizer, output / "trained")
    before = score(spacy.load(trained))
    print(f"{first}, trained on {len(examples)} docs: {before:.4f} of the tags are right")

    # 2. Swap. The command `spacy frameworks convert trained swapped --to ...` does the same.
    swapped = swap_framework(trained, then)
    swapped.to_disk(output / "swapped")
    print(f"{then}, with the same weights: {score(swapped):.4f}")

    # 3. Train further. A pipeline does not contain the state of the optimizer, so a new one is
    #    made, with a smaller learn rate: the weights are good already. Its averages begin anew.
    optimizer = swapped.resume_training(sgd=Adam(0.001, use_averages=True))
    examples = list(create_corpus(paths, "train", limit=limit)(swapped))
    train_on(swapped, examples, optimizer, epochs)
    further = save(swapped, optimizer, output / "further")
    after = score(spacy.load(further))
    print(f"{then}, trained further on {len(examples)} docs: {after:.4f}, saved in {further}")


if __name__ == "__main__":
    typer.run(main)
