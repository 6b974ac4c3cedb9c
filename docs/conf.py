from importlib.metadata import version as _version

project = "predlog"
author = "The predlog authors"
copyright = "The predlog authors"  # noqa: A001 - the name that Sphinx asks for
version = release = _version("predlog")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "predlog"
html_extra_path = ["records.schema.json"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
nitpicky = False
