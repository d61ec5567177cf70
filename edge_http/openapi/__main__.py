"""Writes the document: `python -m edge_http.openapi DESCRIPTOR_SET OUT`, for `proto/generate.py`."""

import sys
from pathlib import Path

from edge_http.openapi.document import openapi_document, rendered

if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    out.write_text(rendered(openapi_document(source.read_bytes())), encoding="utf-8")
