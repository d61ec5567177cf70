"""`python -m tests.cases [pytest's arguments]` runs the cases alone."""

import sys
from pathlib import Path

import pytest

sys.exit(pytest.main([str(Path(__file__).parent), *sys.argv[1:]]))
