"""A server that wants a certificate of its clients, and the files of one that has it."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class MutualTls:
    """An authority, a ``context`` for a server with these names, and the client's files."""

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir()
        authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.context)
        authority.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_REQUIRED
        ours = authority.issue_cert("client.test")
        self.ca_file = folder / "ca.pem"
        self.cert_file, self.key_file = folder / "cert.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        ours.cert_chain_pems[0].write_to_path(self.cert_file)
        ours.private_key_pem.write_to_path(self.key_file)
        self.key_file.chmod(0o600)

    @property
    def settings(self) -> dict[str, str]:
        """As load.influxdb has them."""
        names = ("ca_file", "cert_file", "key_file")
        return {name: str(getattr(self, name)) for name in names}
