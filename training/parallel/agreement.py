"""Whether all processes train the same. What differs is found before the first step, and not after
hours."""

from __future__ import annotations

import zlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Dict, List, Mapping, Sequence

from spacy.attrs import (
    DEP,
    ENT_ID,
    ENT_IOB,
    ENT_KB_ID,
    ENT_TYPE,
    HEAD,
    LEMMA,
    MORPH,
    ORTH,
    POS,
    SENT_START,
    SPACY,
    TAG,
)
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...wrappers.framework import FRAMEWORKS
from .gradients import Parameter
from .group import Group


class DisagreementError(ValueError):
    """The processes do not train the same. It is raised in all of them."""


# Whose versions have to be the same.
_PACKAGES = ("spacy-frameworks", "spacy", "thinc", "numpy", *(fw.module for fw in FRAMEWORKS))
# How many differences an error tells.
_TOLD = 5
_ANNOTATION = [ORTH, SPACY, TAG, POS, MORPH, LEMMA, DEP, HEAD, SENT_START]
_ANNOTATION += [ENT_IOB, ENT_TYPE, ENT_ID, ENT_KB_ID]


def check_settings(nlp: Language, group: Group, **options: bool) -> None:
    """Raise DisagreementError, in all processes, if their configs differ in anything but paths and
    the logger, or the versions of their packages, the labels of their components, or options of the
    command."""
    given = {f"--{name}": is_given for name, is_given in options.items()}
    found = {**given, **settings(nlp), **_versions(), **_labels_in_short(nlp)}
    _check_same(found, "settings or versions", group)


def settings(nlp: Language) -> Dict[str, str]:
    """What the config of a pipeline says, without paths: another machine may have its files at
    other places. Without the logger, too, which may have to write another file than the one that
    is there already."""
    config = nlp.config.copy()
    _clear(config.get("paths", {}))
    config["training"].pop("logger", None)
    return {f"[{name}]": value for name, value in _flat(config.interpolate()).items()}


def labels(nlp: Language) -> Dict[str, List[str]]:
    """The labels of each component, in the order of its outputs. They are found in the data. Where
    they come out of a set, which has another order in each process, or where the data has others,
    the same output would mean another label."""
    found = {name: [str(label) for label in labels] for name, labels in nlp.pipe_labels.items()}
    # Parsers tell their labels sorted, and the outputs are transitions, the frequent ones first.
    moves = {name: pipe.move_names for name, pipe in nlp.pipeline if hasattr(pipe, "move_names")}
    return {**found, **moves}


def check_weights(parameters: Sequence[Parameter], group: Group) -> None:
    """Raise DisagreementError, in all processes, if their models begin with other weights."""
    weights = {parameter.name: _checksum_of(parameter.value()) for parameter in parameters}
    _check_same(weights, "initial weights", group)


def check_corpora(number: int, checksum: int, group: Group) -> None:
    """Raise DisagreementError, in all processes, if they have read other documents to train on.

    number, checksum: Of the documents that this process has read.
    """
    found = {"the number of documents": number, "the checksum of the documents": checksum}
    _check_same(found, "training data", group)


def doc_checksum(doc: Doc) -> int:
    """A number that follows from the words and the gold annotation of a doc."""
    tokens = doc.to_array(_ANNOTATION)
    spans = {
        name: [(span.start, span.end, span.label_, span.kb_id_, span.id_) for span in group]
        for name, group in doc.spans.items()
    }
    rest = repr((sorted(doc.cats.items()), sorted(spans.items())))
    return zlib.crc32(rest.encode(), zlib.crc32(tokens.tobytes()))


def batch_checksum(batch: Sequence[Example]) -> int:
    """A number that follows from the words of a batch, in their order. It has 24 bits, which
    float32 holds exactly."""
    checksum = 0
    for example in batch:
        checksum = zlib.crc32(example.reference.to_array(ORTH).tobytes(), checksum)
    return checksum & 0xFFFFFF


def _check_same(found: Mapping[str, Any], what: str, group: Group) -> None:
    of_all = group.gathered(dict(found))
    first = of_all[0]
    differences: List[str] = []
    for rank, other in enumerate(of_all):
        for name in sorted({*first, *other}):
            ours, theirs = first.get(name, "nothing"), other.get(name, "nothing")
            if ours != theirs:
                differences.append(f"{name} is {ours!r} in rank 0 and {theirs!r} in rank {rank}")
    if differences:
        more = len(differences) - _TOLD
        told = "; ".join(differences[:_TOLD]) + (f"; and {more} more" if more > 0 else "")
        raise DisagreementError(
            f"The processes have other {what}: {told}. Give all of them the same."
        )


def _versions() -> Dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[f"the version of {name}"] = version(name)
        except PackageNotFoundError:
            found[f"the version of {name}"] = "none"
    return found


def _labels_in_short(nlp: Language) -> Dict[str, str]:
    return {
        f"the labels of {name}": f"{len(names)} with checksum {zlib.crc32(repr(names).encode())}"
        for name, names in labels(nlp).items()
    }


def _clear(section: Dict[str, Any]) -> None:
    for name, value in section.items():
        if isinstance(value, dict):
            _clear(value)
        else:
            section[name] = None


def _checksum_of(array: Any) -> str:
    on_cpu = array.get() if hasattr(array, "get") else array
    return f"{on_cpu.dtype}{list(on_cpu.shape)} {zlib.crc32(on_cpu.tobytes()):08x}"


def _flat(section: Mapping[str, Any], prefix: str = "") -> Dict[str, Any]:
    flat: Dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = repr(value)
    return flat
