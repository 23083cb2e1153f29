"""Maps the folders under one namespace, and derives extras and entry points from the list of
frameworks. Everything else is in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
framework = runpy.run_path(str(HERE / "wrappers" / "framework.py"))
FRAMEWORKS, THINC = framework["FRAMEWORKS"], framework["THINC"]

ROOTS = {
    # The name alone, with the version.
    "spacy_frameworks": "package",
    "spacy_frameworks.wrappers": "wrappers",
    "spacy_frameworks.architectures": "architectures",
    "spacy_frameworks.training": "training",
}

ARCHITECTURES = "spacy_frameworks.architectures"
TRAINING = "spacy_frameworks.training"

# What it is called with the framework as an argument, and its function; with the framework in the
# name, and the function of that name.
NAMES = {
    "Tagger": ("tagger:build_tagger", "tagger:{token}Tagger"),
    "TextCat": ("textcat:build_textcat", "textcat:{token}TextCat"),
    "FeedForward": ("encoders:build_feed_forward", "encoders:{token}FeedForward"),
    "WindowEncoder": ("encoders:build_window_encoder", "encoders:{token}WindowEncoder"),
    "BiLSTMEncoder": ("encoders:build_bilstm_encoder", "encoders:{token}BiLSTMEncoder"),
    "TransformerEncoder": (
        "encoders:build_transformer_encoder",
        "encoders:{token}TransformerEncoder",
    ),
    "CustomModel": ("usage_page:build_custom_model", "usage_page:Custom{custom}Model"),
}


def architectures():
    """The table of contents: each architecture with the framework as an argument, and by a short
    name for each framework."""
    for name, (with_argument, short) in NAMES.items():
        yield f"spacy-frameworks.{name}.v1 = {ARCHITECTURES}.{with_argument}"
        for fw in (*FRAMEWORKS, THINC):
            place = short.format(token=fw.token, custom=fw.custom)
            short_name = place.partition(":")[2]
            yield f"spacy-frameworks.{short_name}.v1 = {ARCHITECTURES}.{place}"
    yield f"spacy-frameworks.UniqueTokens.v1 = {ARCHITECTURES}.words:UniqueTokens"


def layers():
    for fw in FRAMEWORKS:
        for what in ("Wrapper", "RNNWrapper"):
            name = f"{fw.token}{what}"
            yield f"spacy-frameworks.{name}.v1 = spacy_frameworks.wrappers:{name}"


def ops():
    """Named as their classes: Thinc's registry has one name of each."""
    yield "FasterNumpyOps = spacy_frameworks.wrappers.ops:FasterNumpyOps"
    for fw in FRAMEWORKS:
        yield f"{fw.token}Ops = spacy_frameworks.wrappers.{fw.id}.ops:{fw.token}Ops"


packages = [
    name
    for root, folder in ROOTS.items()
    for name in (root, *(f"{root}.{sub}" for sub in find_packages(str(HERE / folder))))
]
extras = {fw.id: list(fw.requirements) for fw in FRAMEWORKS}
extras["all"] = [line for lines in extras.values() for line in lines]
extras["dev"] = [
    "autograd>=1.8",
    "pytest>=8",
    "pytest-timeout>=2",
    "pytest-xdist>=3",
    "hypothesis>=6",
    "ruff>=0.6",
    "mypy>=1.11",
    "tox>=4",
]

setup(
    packages=packages,
    package_dir=ROOTS,
    package_data={root: ["py.typed"] for root in ROOTS},
    extras_require=extras,
    entry_points={
        "spacy_architectures": list(architectures()),
        "spacy_callbacks": [
            f"spacy-frameworks.use_framework.v1 = {TRAINING}.callbacks:use_framework",
            f"spacy-frameworks.add_requirements.v1 = {ARCHITECTURES}.requirements:add_requirements",
        ],
        # Not a command: spaCy's commands load it before they choose a GPU allocator by Thinc.
        "spacy_cli": ["spacy-frameworks = spacy_frameworks.wrappers:set_gpu_allocator"],
        "spacy_readers": [f"spacy-frameworks.Corpus.v1 = {TRAINING}.corpus:create_corpus"],
        "thinc_layers": list(layers()),
        "thinc_ops": list(ops()),
    },
)
