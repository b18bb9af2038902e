"""What the pipeline costs, measured on real servers; ``python -m devtools.bench``."""

import os

# As the services run: they scale by processes. Read by polars when it is imported.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
