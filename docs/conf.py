"""Settings of the documentation: ``make docs``. Nothing is fetched; ``_ext`` writes the pages of the reference."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
# Processes that examples start run this tree, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))

import matplotlib as mpl  # noqa: E402

import xai_fast  # noqa: E402

mpl.use("Agg")

project = "xai_fast"
author = "the authors of xai_fast"
release = version = xai_fast.__version__
html_title = "xai_fast"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "names",
    "reference",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_ext/**"]
templates_path: list[str] = []

myst_heading_anchors = 3
myst_links_external_new_tab = False

default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "collapse_navigation": True,
    "back_to_top_button": False,
}
html_sidebars = {"index": [], "start": [], "which-method": []}
copyright = author
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"

# The gallery: the examples are executed unless XAI_FAST_EXAMPLES=0.
EXAMPLES = HERE.parent / "examples"
if EXAMPLES.is_dir():
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": str(EXAMPLES),
        "gallery_dirs": "gallery",
        "filename_pattern": r"\.py$",
        "plot_gallery": os.environ.get("XAI_FAST_EXAMPLES", "1") != "0",
        "backreferences_dir": "generated/backreferences",
        "doc_module": ("xai_fast",),
        "write_computation_times": False,  # its page fetches scripts
        "within_subsection_order": "FileNameSortKey",
        "remove_config_comments": True,
        "download_all_examples": False,
        "show_signature": False,
    }
    suppress_warnings = ["config.cache"]

warnings.filterwarnings("ignore", message="Matplotlib is currently using agg")
