"""Write the model YAMLs of cfg/models anew: ``python tools/make_models.py [FOLDER]``."""

import sys
from pathlib import Path

from instruments.ready_models import write_ready_models

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "cfg" / "models"
    for path in write_ready_models(folder):
        print(path)
