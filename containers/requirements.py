"""Prints what pyproject.toml asks for, one requirement a line: `python requirements.py [EXTRA ...]`.

Images install these alone, without our own packages, which lie beside as they do in the repository.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = (requirement for extra in sys.argv[1:] for requirement in project["optional-dependencies"][extra])
sys.stdout.write("\n".join((*project["dependencies"], *extras)) + "\n")
