"""Adds a framework to spacy-frameworks: the entry point of this distribution names `TOY`.

What needs the library is beside this, so that naming it imports nothing of it.
"""

from spacy_frameworks.wrappers import Framework

TOY = Framework(
    token="Toy",
    id="toy",
    module="toy",
    custom="Toy",
    requirements=("toy-frameworks>=1.0",),
    model_roots=("toy",),
    folder="toy_frameworks.wrappers",
    networks="toy_frameworks.networks",
)
