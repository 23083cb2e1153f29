"""A transformer of one's own, in PyTorch, as the encoder of spaCy's entity recognizer.

    python ner_transformer.py
    python ner_transformer.py --train train.spacy --dev dev.spacy

trains ner_transformer.cfg, the config beside this file, by the function behind spaCy's command

    spacy train ner_transformer.cfg --code ner_transformer.py --paths.train train.spacy ...

which imports this file for the transformer. Without files of your own it makes some up, in which
the same name is now a person and now a place, and only words far from it say which.
"""

import random
from pathlib import Path
from typing import List, Optional, Tuple

import spacy
import torch
import typer
from spacy.cli.train import train as train_config
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Corpus
from spacy.util import registry
from spacy_frameworks.wrappers import PyTorchWrapper, with_mask
from thinc.api import Model
from thinc.types import Floats2d

# 1. The transformer: PyTorch's own, and before it what that lacks, which is where a token stands.


class Transformer(torch.nn.Module):
    def __init__(self, width: int, depth: int, heads: int, max_length: int) -> None:
        super().__init__()
        self.positions = torch.nn.Embedding(max_length, width)
        layer = torch.nn.TransformerEncoderLayer(
            width, heads, dim_feedforward=2 * width, norm_first=True, batch_first=True
        )
        self.encoder = torch.nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, X: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """X: Docs, tokens, width. padding: Docs, tokens; true where a shorter doc has none."""
        places = torch.arange(X.shape[1], device=X.device)
        # Behind the last place that is known, all are the same to it.
        places = places.clamp(max=self.positions.num_embeddings - 1)
        return self.encoder(X + self.positions(places), src_key_padding_mask=padding)


# 2. What the config calls it. `with_mask` pads the docs of a batch, and says where. The wrapper's
#    `dropout` has the module's layers follow the config's rate.


@registry.architectures("own_transformer.v1")
def build_transformer(
    width: int, depth: int = 2, heads: int = 4, max_length: int = 512
) -> Model[List[Floats2d], List[Floats2d]]:
    module = Transformer(width, depth, heads, max_length)
    return with_mask(
        PyTorchWrapper(module, nO=width, nI=width, dropout=0.1), "padding", padding=True
    )


# 3. Data. "Florence, as everybody knows, sang a song" is about a person, and "Florence, as
#    everybody knows, lies by a lake" is not. Whoever sees the name alone is right half the time.

NAMES = "Austin Chelsea Chester Devon Florence Georgia Jordan Lincoln Madison Paris Troy Victoria"
ASIDES = [
    "as everybody knows",
    "after all that rain",
    "in the spring of that year",
    "so the letter says",
    "with a little luck",
    "if we may believe it",
]
BEFORE = {
    "PERSON": ["we asked", "they had thanked", "he soon married", "somebody woke"],
    "PLACE": ["we reached", "they had left for", "he soon flew to", "somebody mapped"],
}
BEHIND = {
    "PERSON": ["sang a song", "slept until noon", "wrote two books", "lost the key"],
    "PLACE": ["lies by a lake", "has a harbour", "was built on hills", "froze over"],
}


def make_docs(n_docs: int, seed: int) -> List[Doc]:
    """Sentences of one or two clauses, with a name in each."""
    rng, vocab, names = random.Random(seed), spacy.blank("en").vocab, NAMES.split()

    def clause() -> Tuple[List[str], str]:
        name, label = rng.choice(names), rng.choice(list(BEFORE))
        aside = f", {rng.choice(ASIDES)} ,"
        if rng.random() < 0.5:
            return f"{rng.choice(BEFORE[label])} {aside} {name}".split(), label
        return f"{name} {aside} {rng.choice(BEHIND[label])}".split(), label

    def make_doc() -> Doc:
        clauses = [clause() for _ in range(rng.choice([1, 2]))]
        words = " while ".join(" ".join(words) for words, _ in clauses).split()
        doc = Doc(vocab, [*words, "."])
        places = [i for i, word in enumerate(words) if word in names]
        doc.ents = [Span(doc, i, i + 1, label) for i, (_, label) in zip(places, clauses)]
        return doc

    return [make_doc() for _ in range(n_docs)]


def main(
    train: Optional[Path] = typer.Option(None, exists=True, help="A .spacy file with entities"),
    dev: Optional[Path] = typer.Option(None, exists=True, help="Another one, to evaluate on"),
    steps: int = typer.Option(300, min=1, help="How many batches to train on at most"),
    baseline: bool = typer.Option(True, help="Also train on layers that see each token alone"),
    output: Path = typer.Option(Path("ner"), help="Where to save the pipelines"),
) -> None:
    """Train an entity recognizer on a transformer of one's own, and without one to compare."""
    if (train is None) != (dev is None):
        raise typer.BadParameter("Give both --train and --dev, or neither.")
    output.mkdir(parents=True, exist_ok=True)
    if train is None or dev is None:
        train, dev = output / "train.spacy", output / "dev.spacy"
        DocBin(docs=make_docs(600, seed=0)).to_disk(train)
        DocBin(docs=make_docs(150, seed=1)).to_disk(dev)

    config = Path(__file__).with_suffix(".cfg")
    overrides = {"paths.train": str(train), "paths.dev": str(dev), "training.max_steps": steps}
    trainings = {"own-transformer": overrides}
    if baseline:
        layers = {"@architectures": "spacy-frameworks.FeedForward.v1", "framework": "PyTorch"}
        encode = {"components.ner.model.tok2vec.encode": {**layers, "width": 64}}
        trainings["each-token-alone"] = {**overrides, **encode}
    for name, values in trainings.items():
        train_config(config, output / name, overrides=values)
        nlp = spacy.load(output / name / "model-best")
        score = nlp.evaluate(list(Corpus(dev)(nlp)))["ents_f"]
        print(f"{name}: F {score:.3f}, saved in {output / name / 'model-best'}")


if __name__ == "__main__":
    typer.run(main)
