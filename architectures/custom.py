"""Import this to use the names of spaCy's usage page as they are printed there, without the prefix:
`spacy train config.cfg --code configs/custom.py`.

As entry points, they would silently replace the functions of those who copied the page.
"""

from spacy.util import registry

from . import usage_page
from .names import CUSTOM_MODEL, function_name, short_name
from .per_framework import columns

for _fw in columns():
    if (_name := short_name(CUSTOM_MODEL, _fw)) not in registry.architectures:
        _function = getattr(usage_page, function_name(CUSTOM_MODEL, _fw))
        registry.architectures.register(_name, func=_function)
