"""The GPU worker: claims jobs, runs pipelines, uploads pictures.

It owns no truth: what it reports, svc_generation decides.
"""

import os

# diffusers and transformers read these once, when they are imported, so they are set before any module of this package
# can import them. Models come from the models folder only, never from the network; and the libraries' warnings quote
# prompts that are longer than a tokenizer takes, which do not belong in logs.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
