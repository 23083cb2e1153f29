"""For `spacy train ... --code configs/custom.py`: the names of spaCy's usage page, such as
CustomTorchModel.v1, without the prefix of this package."""

import spacy_frameworks.architectures.custom  # noqa: F401
