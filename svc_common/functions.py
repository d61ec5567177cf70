"""The database's functions as files: `svc_<area>/store/functions/<name>.sql` shows each as it is now.

A migration makes a function what its file says, with `replace_function`. A test compares the files with what the migrations
make of an empty database, so that they can't drift apart.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from alembic import op


def function_files(area: str) -> Iterator[Path]:
    """Yields the files of a service's functions, in the order of their names; none for a service without."""
    spec = importlib.util.find_spec(f"svc_{area}")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield from sorted((Path(location) / "store" / "functions").glob("*.sql"))


def replace_function(area: str, name: str) -> None:
    """Makes a function as its file has it; for migrations.

    Its parameters and what it returns stay: a function with others is another one, and the old one goes in a later release.
    """
    (file,) = (file for file in function_files(area) if file.stem == name)
    # Without parameters, so that colons and percent signs in the file mean themselves.
    op.get_bind().exec_driver_sql(file.read_text(encoding="utf-8"))
