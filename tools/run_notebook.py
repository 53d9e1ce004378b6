"""Run the notebook and store its outputs in both languages: ``python tools/run_notebook.py`` (extra ``dev``)."""

from instruments.notebook import main

if __name__ == "__main__":
    main()
