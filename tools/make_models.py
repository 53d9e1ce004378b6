"""Regenerate the model YAMLs of cfg/models: ``python tools/make_models.py [FOLDER]``."""

from instruments.ready_models import main

if __name__ == "__main__":
    main()
