"""spaCy's own layers in a config, and the layers of this package that are nearest to them."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

from thinc.api import Config

from ..wrappers.framework import THINC, get_framework
from .names import PREFIX

Section = Dict[str, Any]

# Of spaCy's layers, the second and those after it see there what the first has made of zeros.
_ENDS = "each layer sees zeros beyond the ends of a doc"
_NO_MISH = "maxout of three pieces in place of Mish"
# As Thinc's configs have them: ${section.key}, or ${section:key}.
_VARIABLE = re.compile(r"\$\{([\w.:]+)\}")


class Replaced(NamedTuple):
    """One that was replaced.

    place: The section, such as "components.tagger.model.tok2vec".
    before, after: The architectures.
    remark: What is not the same, if anything is; "" if the same is computed.
    """

    place: str
    before: str
    after: str
    remark: str

    def __str__(self) -> str:
        remark = f" ({self.remark})" if self.remark else ""
        return f"[{self.place}] {self.before} -> {self.after}{remark}"


def replace_stock(config: Config, framework: str) -> List[Replaced]:
    """Put layers of this package in the place of spaCy's own, in a config, in place.

    Encoders become ours with the same sizes; what embeds words stays spaCy's. A text classifier
    without vectors of words becomes our text classifier.

    config: A config whose variables are not filled in.
    framework: Config token or id of the framework. On Thinc, spaCy's own stay.
    Returns what was replaced.

    Raises ValueError if there is no framework of this name, or a layer has not all of its settings.
    """
    target = get_framework(framework)
    if target == THINC:
        return []
    replaced = []
    filled = config.interpolate()
    for place, section in list(_sections(config.get("components", {}), ("components",))):
        name = section.get("@architectures")
        # ["components", "textcat", "model"]
        known = {**_NEAREST, **(_MODELS if len(place) == 3 else {})}
        parent = _find(config, place[:-1])
        # Its encoder gets all docs as one array; that of the second version, as ours, a list.
        is_in_first = (place[-1], parent.get("@architectures")) == ("encode", _FIRST_TOK2VEC)
        if name in _OF_ARRAYS and not is_in_first:
            continue
        if isinstance(name, str) and name in known:
            if is_in_first:
                parent["@architectures"] = "spacy.Tok2Vec.v2"
            try:
                after, remark = known[name](section, _find(filled, place), target.token)
            except KeyError as error:
                raise ValueError(
                    f"[{'.'.join(place)}] has no {error}, which {name} needs. `spacy init "
                    "fill-config` says what a config lacks."
                ) from None
            section.clear()
            section.update(after)
            if is_in_first:
                name, remark = f"{name} in {_FIRST_TOK2VEC}", f"in spacy.Tok2Vec.v2; {remark}"
            replaced.append(Replaced(".".join(place), name, _name_of(after), remark))
    _fill_variables(config, config, filled)
    return replaced


def _fill_variables(section: Section, config: Config, filled: Section) -> None:
    """Write out the values of variables that name a setting which was replaced."""
    for key, value in section.items():
        if key not in filled:
            # A section of a layer that came in.
            continue
        if isinstance(value, dict):
            _fill_variables(value, config, filled[key])
        elif isinstance(value, str) and not all(
            _is_there(config, tuple(re.split("[.:]", name))) for name in _VARIABLE.findall(value)
        ):
            section[key] = filled[key]


def _is_there(config: Config, place: Tuple[str, ...]) -> bool:
    found: Any = config
    for key in place:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True


def _window(section: Section, pieces: Any, token: str) -> Section:
    return {
        "@architectures": f"{PREFIX}WindowEncoder.v1",
        "framework": token,
        **{name: section[name] for name in ("width", "window_size", "depth") if name in section},
        "maxout_pieces": pieces,
    }


def _from_maxout(section: Section, values: Section, token: str) -> Tuple[Section, str]:
    return _window(section, section["maxout_pieces"], token), _ENDS


def _from_mish(section: Section, values: Section, token: str) -> Tuple[Section, str]:
    return _window(section, 3, token), _NO_MISH


def _from_bilstm(section: Section, values: Section, token: str) -> Tuple[Section, str]:
    rest = {name: value for name, value in section.items() if name != "@architectures"}
    return {"@architectures": f"{PREFIX}BiLSTMEncoder.v1", "framework": token, **rest}, ""


def _from_cnn(section: Section, values: Section, token: str) -> Tuple[Section, str]:
    """spaCy's HashEmbedCNN is made of these, with these sizes."""
    size, subwords = values["embed_size"], values["subword_features"]
    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": section["width"],
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"] if subwords else ["NORM"],
        "rows": [size, *([size // 2] * 3 if subwords else [])],
        "include_static_vectors": bool(values["pretrained_vectors"]),
    }
    is_mish = values["maxout_pieces"] == 1
    encode = _window(section, 3 if is_mish else section["maxout_pieces"], token)
    made = {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}
    return made, _NO_MISH if is_mish else _ENDS


def _from_bag_of_words(section: Section, values: Section, token: str) -> Tuple[Section, str]:
    model = {
        "@architectures": f"{PREFIX}TextCat.v1",
        "framework": token,
        "exclusive_classes": section["exclusive_classes"],
        "nO": section.get("nO"),
    }
    return model, "vectors of words in place of a bag of n-grams"


_Make = Callable[[Section, Section, str], Tuple[Section, str]]

# Wherever they are.
_NEAREST: Dict[str, _Make] = {
    "spacy.MaxoutWindowEncoder.v1": _from_maxout,
    "spacy.MaxoutWindowEncoder.v2": _from_maxout,
    "spacy.MishWindowEncoder.v1": _from_mish,
    "spacy.MishWindowEncoder.v2": _from_mish,
    "spacy.TorchBiLSTMEncoder.v1": _from_bilstm,
    "spacy.HashEmbedCNN.v1": _from_cnn,
    "spacy.HashEmbedCNN.v2": _from_cnn,
}
_FIRST_TOK2VEC = "spacy.Tok2Vec.v1"
_OF_ARRAYS = ("spacy.MaxoutWindowEncoder.v1", "spacy.MishWindowEncoder.v1")
# Where they are a component's model, and not a part of spaCy's ensemble.
_MODELS: Dict[str, _Make] = {
    "spacy.TextCatBOW.v1": _from_bag_of_words,
    "spacy.TextCatBOW.v2": _from_bag_of_words,
    "spacy.TextCatBOW.v3": _from_bag_of_words,
}


def _name_of(section: Section) -> str:
    inner = section.get("encode", section)
    return str(inner["@architectures"])


def _sections(value: Section, place: Tuple[str, ...]) -> Iterator[Tuple[Tuple[str, ...], Section]]:
    yield place, value
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _sections(inner, (*place, key))


def _find(config: Config, place: Tuple[str, ...]) -> Section:
    found: Any = config
    for key in place:
        found = found[key]
    return found
