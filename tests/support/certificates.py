"""Files of TLS as ``etlctl secrets init --tls`` makes them."""

from __future__ import annotations

from pathlib import Path

from etlctl.secrets import tls
from etlctl.secrets.folder import open_folder


def certificates(folder: Path) -> Path:
    """A folder with ``tls_ca.crt``, ``tls_redis.crt``, ``tls_redis.key`` and more, each private."""
    made = folder / "certificates"
    with open_folder(made, create=True) as opened:
        assert list(tls.complete(opened))
    return made
