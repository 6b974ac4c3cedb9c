import sys
from importlib.metadata import version as _version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "predlog"
author = "The predlog authors"
copyright = "The predlog authors"  # noqa: A001 - the name that Sphinx asks for
version = release = _version("predlog")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
html_theme = "furo"
html_title = "predlog"
html_static_path = ["_static"]
html_js_files = ["focusable.js"]
html_extra_path = ["records.schema.json"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
toc_object_entries_show_parents = "hide"
default_role = "py:obj"  # a name in a docstring: a link where it is documented, and code elsewhere
nitpicky = False
