"""PyTorch, TensorFlow and MXNet models in spaCy pipelines: `spacy_frameworks.wrappers` and
`spacy_frameworks.architectures`."""

from importlib.metadata import version as _version

__version__: str = _version("spacy-frameworks")
