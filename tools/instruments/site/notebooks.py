"""Pages of the notebooks, with the outputs that are stored in them."""

from __future__ import annotations

from pathlib import Path

FILE = {"en": "This page is a notebook:", "zh": "本页是一个 notebook："}


def notebook_pages(docs: Path) -> dict[str, str | bytes]:
    """Return the page of each notebook and its pictures, by their paths in the documentation."""
    from nbconvert import MarkdownExporter

    pages: dict[str, str | bytes] = {}
    for notebook in sorted(docs.glob("notebooks/*.ipynb")):
        pictures = notebook.with_name(f"{notebook.name.partition('.')[0]}-files")
        text, found = MarkdownExporter().from_filename(notebook, {"output_files_dir": pictures.name})
        title, _, rest = text.partition("\n")
        said = FILE["zh" if notebook.stem.endswith(".zh") else "en"]
        link = f"[{notebook.name}]({notebook.name.replace('.zh.', '.')})"
        pages[f"notebooks/{notebook.stem}.md"] = f"{title}\n\n{said} {link}\n{rest}"
        pages |= {f"notebooks/{name}": content for name, content in found["outputs"].items()}
    return pages
