"""PyTorch, TensorFlow, MXNet and JAX models in spaCy pipelines: `spacy_frameworks.wrappers`,
`spacy_frameworks.architectures`, `spacy_frameworks.training` and `spacy_frameworks.components`."""

from importlib.metadata import version as _version

__version__: str = _version("spacy-frameworks")
