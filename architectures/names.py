"""The one list of registered names. `setup.py` runs this file alone: it must import nothing of
ours, and nothing that has to be installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Sequence

if TYPE_CHECKING:
    from ..wrappers.framework import Framework

PREFIX = "spacy-frameworks."
USE_FRAMEWORK = f"{PREFIX}use_framework.v1"

_ARCHITECTURES = "spacy_frameworks.architectures"
_COMPONENTS = "spacy_frameworks.components"
_COMMANDS = "spacy_frameworks.commands"
_TRAINING = "spacy_frameworks.training"
_WRAPPERS = "spacy_frameworks.wrappers"


class Name(NamedTuple):
    """What is registered, and how it is called.

    group: The group of entry points, by which spaCy and Thinc find it.
    name: What it is registered as. With a field of `Framework` in braces, there is one of it for
        each framework.
    place: Its module and its name there.
    short: The name, without prefix, that it has besides for each framework and for Thinc. What is
        registered by that is the same with its first argument, the framework, filled in.
    file: What a framework's folder has to have, or there is none of it for that framework.
    """

    group: str
    name: str
    place: str
    short: str = ""
    file: str = ""


# The short form is spelled as on spaCy's usage page, where it has no prefix.
CUSTOM_MODEL = Name(
    "spacy_architectures",
    "spacy-frameworks.CustomModel.v1",
    f"{_ARCHITECTURES}.usage_page:build_custom_model",
    short="Custom{custom}Model.v1",
)

NAMES: tuple[Name, ...] = (
    Name(
        "spacy_architectures",
        "spacy-frameworks.Tagger.v1",
        f"{_ARCHITECTURES}.tagger:build_tagger",
        short="{token}Tagger.v1",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.TextCat.v1",
        f"{_ARCHITECTURES}.textcat:build_textcat",
        short="{token}TextCat.v1",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.FeedForward.v1",
        f"{_ARCHITECTURES}.encoders:build_feed_forward",
        short="{token}FeedForward.v1",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.WindowEncoder.v1",
        f"{_ARCHITECTURES}.encoders:build_window_encoder",
        short="{token}WindowEncoder.v1",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.BiLSTMEncoder.v1",
        f"{_ARCHITECTURES}.encoders:build_bilstm_encoder",
        short="{token}BiLSTMEncoder.v1",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.TransformerEncoder.v1",
        f"{_ARCHITECTURES}.encoders:build_transformer_encoder",
        short="{token}TransformerEncoder.v1",
    ),
    CUSTOM_MODEL,
    Name(
        "spacy_architectures",
        "spacy-frameworks.UniqueTokens.v1",
        f"{_ARCHITECTURES}.words:UniqueTokens",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.RelationModel.v1",
        f"{_ARCHITECTURES}.relations:build_relation_model",
        short="{token}RelationModel.v1",
    ),
    Name(
        "spacy_architectures",
        "spacy-frameworks.EntityPairs.v1",
        f"{_ARCHITECTURES}.relations:EntityPairs",
    ),
    Name("spacy_callbacks", USE_FRAMEWORK, f"{_TRAINING}.callbacks:use_framework"),
    Name(
        "spacy_callbacks",
        "spacy-frameworks.add_requirements.v1",
        f"{_ARCHITECTURES}.requirements:add_requirements",
    ),
    Name(
        "spacy_factories",
        "relation_extractor",
        f"{_COMPONENTS}.relation_extractor:make_relation_extractor",
    ),
    Name("spacy_cli", "frameworks", f"{_COMMANDS}:frameworks"),
    Name("spacy_loggers", "spacy-frameworks.Logger.v1", f"{_TRAINING}.logger:create_logger"),
    Name("spacy_readers", "spacy-frameworks.Corpus.v1", f"{_TRAINING}.corpus:create_corpus"),
    Name(
        "spacy_readers",
        "spacy-frameworks.RelationCorpus.v1",
        f"{_COMPONENTS}.corpus:create_relation_corpus",
    ),
    Name(
        "spacy_scorers",
        "spacy-frameworks.relation_scorer.v1",
        f"{_COMPONENTS}.relation_scorer:make_relation_scorer",
    ),
    Name("thinc_layers", "spacy-frameworks.{token}Wrapper.v1", f"{_WRAPPERS}:{{token}}Wrapper"),
    Name(
        "thinc_layers",
        "spacy-frameworks.{token}RNNWrapper.v1",
        f"{_WRAPPERS}:{{token}}RNNWrapper",
        file="rnn.py",
    ),
    # Named as their classes: Thinc's registry has one name of each.
    Name("thinc_ops", "FasterNumpyOps", f"{_WRAPPERS}.ops:FasterNumpyOps"),
    Name("thinc_ops", "{token}Ops", f"{_WRAPPERS}.{{id}}.ops:{{token}}Ops", file="ops.py"),
)


def short_name(name: Name, framework: Framework) -> str:
    """The name with the framework in it, without prefix, such as "PyTorchTagger.v1"."""
    return name.short.format(**framework._asdict())


def function_name(name: Name, framework: Framework) -> str:
    """What the function is called whose short name this is, such as "PyTorchTagger"."""
    return short_name(name, framework).partition(".")[0]


def entry_points(
    frameworks: Sequence[Framework], thinc: Framework, wrappers: Path
) -> Dict[str, List[str]]:
    """The entry points of a distribution, by group.

    frameworks: Those that it brings.
    thinc: Pure Thinc, which has short names too.
    wrappers: The folder that has their folders.
    """
    lines: Dict[str, List[str]] = {}
    for name in NAMES:
        found = lines.setdefault(name.group, [])
        if "{" not in name.name:
            found.append(f"{name.name} = {name.place}")
        else:
            for fw in frameworks:
                if (wrappers / fw.id / name.file).exists():
                    found.append(f"{name.name} = {name.place}".format(**fw._asdict()))
        if name.short:
            module, _, _ = name.place.partition(":")
            for fw in (*frameworks, thinc):
                found.append(f"{PREFIX}{short_name(name, fw)} = {module}:{function_name(name, fw)}")
    return lines
