"""How Sphinx makes the site. `docs/build.py` calls it, on a copy of the pages and of the sources.

The reference comes from the docstrings, without an import of the package: sphinx-autoapi reads the
sources, so that neither spaCy nor a framework has to be there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

project = "spacy-frameworks"
copyright = "The spacy-frameworks developers, MIT License"
extensions = ["myst_parser", "autoapi.extension"]
root_doc = "docs/index"
# The copied sources have text files too.
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/*.rst",
    "benchmarks/*.md",
    "constraints/*.md",
    "examples/project/*.md",
]

html_theme = "furo"
html_title = "spacy-frameworks"
# The theme's own underlines names of modules, as if they were links.
pygments_dark_style = "monokai"
html_extra_path = ["redirect"]
html_copy_source = False
# Quotes around a value are to be copied as they are.
smartquotes = False

# As GitHub makes anchors.
myst_heading_anchors = 4

autoapi_dirs = ["spacy_frameworks"]
autoapi_generate_api_docs = False
# A class says what it is, and its constructor has the arguments.
autoapi_python_class_content = "both"
autodoc_member_order = "bysource"
# Only what the reference shows is copied, so what that imports is not found.
suppress_warnings = ["autoapi.python_import_resolution"]
add_module_names = False
python_use_unqualified_type_names = True
# A line for each argument.
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
# What stands in backticks in a docstring is code, and a link where it is a public name.
default_role = "py:obj"
# What is in backticks need not be a name, and what is not ours has no page here.
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:.*", r"(?!spacy_frameworks\.).*"),
    # Names of types that are written out in the docstrings.
    ("py:class", r"spacy_frameworks\..*\.(Network|Tok2Vec)"),
]

# A docstring's `name (type): text`, and `name, other (type): text`.
NAME = r"\*{0,2}\w+(?: \([^:]+?\))?"
ITEM = re.compile(rf"({NAME}(?:, {NAME})*): (.*)")
ONE_NAME = re.compile(r"(\*{0,2}\w+)(?: \((.+?)\))?(?:, |$)")


def to_rst(lines: list[str]) -> list[str]:
    """A docstring as the house writes them, as reStructuredText: lists of the arguments, of what is
    returned and of what is raised."""
    text: list[str] = []
    fields: dict[str, list[str]] = {"Arguments": [], "Returns": [], "Raises": []}
    # Where the next line goes; None for the text.
    goes_on: list[str] | None = None
    in_code = False
    for line in lines:
        item = ITEM.fullmatch(line) if text else None
        if not line.startswith("    "):
            in_code = in_code and not line
        if not line:
            goes_on = None
            text.append("")
        elif item and item[1].startswith("RETURNS"):
            goes_on = fields["Returns"]
            goes_on.append(f"{typed(item[1])} {escaped(item[2])}")
        elif item:
            goes_on = fields["Arguments"]
            goes_on.append(f"- {typed(item[1])}: {escaped(item[2])}")
        elif line.startswith(("Raises ", "Returns ")):
            verb, _, rest = line.partition(" ")
            goes_on = fields[verb]
            goes_on.append(escaped(rest))
        elif goes_on is not None:
            goes_on[-1] += f" {escaped(line.strip())}"
        elif line.startswith("    "):
            # Code, which Markdown knows by its indentation.
            text += [line] if in_code else ["::", "", line]
            in_code = True
        else:
            text.append(escaped(line))
    for name, entries in fields.items():
        if entries:
            text += ["", f":{name}:", *(f"    {entry}" for entry in entries)]
    return [*text, ""]


def typed(names: str) -> str:
    """`name (type), other (type)` in two kinds of letters; of what is returned, the type alone."""
    found = [(name, f"``{type_}``" if type_ else "") for name, type_ in ONE_NAME.findall(names)]
    if names.startswith("RETURNS"):
        return f"{found[0][1]}:" if found[0][1] else ""
    return ", ".join(f"**{escaped(name)}** {type_}".strip() for name, type_ in found)


def escaped(text: str) -> str:
    """Markdown's text, in which only backticks mean something to reStructuredText."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([*_|\\])", r"\\\1", part) for i, part in enumerate(parts)
    )


def convert_docstring(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    # A constructor's is a part of its class's, which comes next.
    if not name.endswith("__init__"):
        lines[:] = to_rst(lines)


def unlink_folders(app: Any, doctree: nodes.document) -> None:
    """A folder, which GitHub shows, is no page here: its name stays."""
    here = Path(doctree["source"]).parent
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node["reftype"] == "myst" and (here / node["reftarget"]).is_dir():
            node.replace_self(node.children)


def drop_test_comments(app: Any, doctree: nodes.document) -> None:
    """What tells the tests of the pages how to run a block is nothing to a reader."""
    for node in list(doctree.findall(nodes.raw)):
        if node.astext().startswith("<!-- test: "):
            node.parent.remove(node)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", convert_docstring)
    app.connect("doctree-read", unlink_folders)
    app.connect("doctree-read", drop_test_comments)
