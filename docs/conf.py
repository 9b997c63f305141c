"""Sphinx builds the documentation with this: `make docs`. Nothing is fetched, and a warning is an error."""

from __future__ import annotations

import inspect
import re
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main
from docutils.nodes import Element, Text, document
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment
from typer.cli import get_docs_for_click

import hybrid_core.errors
import hybrid_core.evaluation
import langchain_hybrid
import llamaindex_hybrid
from hybrid_core.cli.app import app

project = "bge-hybrid"
version = release = version_of("bge-hybrid")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"bge-hybrid {version}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "light_css_variables": {"code-font-size": "81.25%"}}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

HOOKS = "model_config, model_post_init, class_name, is_lc_serializable, lc_attributes"  # what the frameworks call
default_role = "py:obj"  # a name in single backticks is linked where it is one of ours, and code where it is not
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "exclude-members": HOOKS}
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("ArrayLike", "Filter", "FloatArray", "Metadata", "Mode")}
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False

JOINT = ",\N{WORD JOINER}"
PACKAGES = (hybrid_core, hybrid_core.evaluation, langchain_hybrid, llamaindex_hybrid)


def commands() -> str:
    """Return the help of every command as Markdown."""
    group = typer.main.get_command(app)
    context = typer.Context(group)
    each = (group.get_command(context, name) for name in group.list_commands(context))
    text = "".join(get_docs_for_click(obj=one, ctx=context, call_prefix="bge-hybrid", indent=1) for one in each)
    return text.replace("* `--help`: Show this message and exit.\n", "").replace("**Options**:\n\n\n", "")


def error_tree() -> str:
    """Return the drawing of the error classes that stands at the top of `errors.py`."""
    lines = inspect.getdoc(hybrid_core.errors).splitlines()
    return "\n".join(["```text", *(line.removeprefix("    ") for line in lines if line.startswith("    ")), "```"])


def others(package: ModuleType, folder: Path) -> str:
    """Return a section with the public names of a package that no page of the reference names, if there are any."""
    written = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))
    known = set(re.findall(rf":: (?:{re.escape(package.__name__)}\.)?(\w+)$", written, re.MULTILINE))
    kinds = {name: "class" if inspect.isclass(getattr(package, name)) else "function" for name in package.__all__}
    lines = [f".. auto{kinds[name]}:: {package.__name__}.{name}" for name in package.__all__ if name not in known]
    return "\n".join(["## Others", "", "```{eval-rst}", *lines, "```"]) if lines else ""


def fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what the code says of itself in place of a page's comments."""
    folder = Path(app.srcdir, docname).parent
    marks = {"commands": commands, "errors": error_tree}
    marks |= {f"others of {package.__name__}": partial(others, package, folder) for package in PACKAGES}
    for mark, text in marks.items():
        if f"<!-- {mark} -->" in source[0]:
            source[0] = source[0].replace(f"<!-- {mark} -->", text())
    if docname == "how-to/index":  # a pattern of a toctree that no page fits would be a warning
        patterns = re.findall(r"^\S+\*\n", source[0], re.MULTILINE)
        for pattern in (one for one in patterns if not any(folder.glob(one.strip()))):
            source[0] = source[0].replace(pattern, "")


def always_read(app: Sphinx, env: BuildEnvironment, *changes: set[str]) -> list[str]:
    """Name the pages that are made from code, whose own files do not show that it has changed."""
    return [name for name in env.found_docs if name.startswith("reference/")]


def public_name(target: str) -> str | None:
    """Return the name under which one of our objects is documented, of any that it may be mentioned by."""
    parts = target.split(".")
    for package in PACKAGES:
        for i, part in enumerate(parts):
            if part in package.__all__ and (i == 0 or parts[0] == package.__name__.partition(".")[0]):
                return ".".join([package.__name__, *parts[i:]])
    return None


def link(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Link a class that a docstring or a signature names by the module it lies in, or without one."""
    if node.get("refdomain") != "py":
        return None
    target = public_name(node["reftarget"])
    domain = env.domains.python_domain
    if target is None or target == node["reftarget"]:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)


def joined(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep the names of "a, b: what both are" together: of words between spaces Sphinx takes the last for the name."""
    for i, line in enumerate(lines):
        if line.startswith(":ivar "):
            _, names, text = line.split(":", 2)
            lines[i] = ":".join(["", names.replace(", ", JOINT), text])


def parted(app: Sphinx, doctree: document) -> None:
    """Give the names that `joined` joined their spaces back."""
    for text in list(doctree.findall(Text)):
        if JOINT in text:
            text.parent.replace(text, Text(text.replace(JOINT, ", ")))


def colon_kept(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep a property's first line whole: napoleon takes what stands before its colon for a type."""
    if what == "property":
        lines.insert(0, "")


def signature_of(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returned: str) -> Any:
    """Give a pydantic class the fields of its own as its signature, not those of the frameworks' base classes."""
    if what == "class" and issubclass(obj, BaseModel) and "__init__" not in vars(obj):
        parts = []
        for field in inspect.get_annotations(obj):
            if not field.startswith("_") and field in obj.model_fields:
                known = obj.model_fields[field]
                parts.append(field if known.is_required() else f"{field}={known.default!r}")
        return f"(*, {', '.join(parts)})", ""
    if not signature:
        return None
    readable = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature).replace("<factory>", "...")
    return readable, returned


def is_tuple_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which the class's docstring explains."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    next(field for field in PyObject.doc_field_types if field.name == "variable").label = "Attributes"
    app.connect("env-get-outdated", always_read)
    app.connect("source-read", fill_in)
    app.connect("missing-reference", link)
    app.connect("autodoc-process-docstring", colon_kept, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", joined, priority=600)  # after napoleon
    app.connect("doctree-read", parted)
    app.connect("autodoc-process-signature", signature_of)
    app.connect("autodoc-skip-member", is_tuple_field)
