"""Import this to use the names of spaCy's usage page as they are printed there, without the prefix:
`spacy train config.cfg --code configs/custom.py`.

As entry points, they would silently replace the functions of those who copied the page.
"""

from spacy.util import registry

from .usage_page import CUSTOM_MODELS

for _name, _function in CUSTOM_MODELS.items():
    if f"{_name}.v1" not in registry.architectures:
        registry.architectures.register(f"{_name}.v1", func=_function)
