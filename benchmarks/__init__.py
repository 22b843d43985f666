"""Benchmarks of the design against the usual alternatives; `make bench` runs them."""

import sys
from pathlib import Path

# The benchmarks share the table in memory with the tests.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
