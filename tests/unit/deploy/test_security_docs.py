"""docs/security.md lists every secret, and who is handed it; the hand-out does as it says."""

from __future__ import annotations

import re

import pytest

from deploy.image.receiver_secrets import SECRET_FILES
from deploy.image.secret_list import consumers
from devtools import PROJECT_ROOT
from etlctl.secrets import tls
from etlctl.secrets.check import ALL_FILES, DERIVED
from etlctl.secrets.table import PASSWORD_OF

ROOT = PROJECT_ROOT
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
# A folder of the hand-out is named as the image where the service is not.
SERVICE_OF = {"simulator": "etl-simulator", "exporter": "etl-metrics"}


def rows(heading: str) -> dict[str, list[str]]:
    """First cell → the others, of the first table below a heading."""
    table = re.search(rf"^#+ {heading}\n(?:(?!\|).*\n)*((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, heading
    lines = [line.strip("| ").split(" | ") for line in table[1].splitlines()[2:]]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


def handed_out(*, pipeline: bool = True, tls: bool = False) -> dict[str, set[str]]:
    """Secret → services; without a person's own, which are handed out where there are any."""
    found: dict[str, set[str]] = {}
    for consumer in consumers(pipeline=pipeline, tls=tls):
        for name in set(consumer.secrets) - consumer.optional:
            service = SERVICE_OF.get(consumer.name, consumer.name)
            found.setdefault(name, set()).add(service)
    return found


def test_every_secret_is_listed() -> None:
    plain = {name for name in ALL_FILES if not name.startswith("tls_") and "_tls." not in name}
    assert rows("Secrets").keys() == plain


def test_every_certificate_is_listed() -> None:
    text = "\n".join(rows("TLS"))
    for name in tls.NAMES:
        assert f"{name}.crt" in text
    for derived in DERIVED:
        if "_tls." in derived.name:
            assert derived.name in text


def test_certificates_go_to_whom_the_page_says() -> None:
    plain = handed_out()
    handed = {
        name: services for name, services in handed_out(tls=True).items() if name not in plain
    }
    listed = {
        name: set() if cells[-1] == "–" else set(cells[-1].split(", "))
        for files, cells in rows("TLS").items()
        for name in files.split("`, `")
    }
    assert handed == {name: services for name, services in listed.items() if services}
    assert set(listed) == {*tls.FILES, *(one.name for one in DERIVED if "_tls." in one.name)}


def test_every_password_that_can_be_rotated_says_when_it_is_used() -> None:
    rotated = {name for name, known in PASSWORD_OF.items() if not known.made_by_server}
    listed = {name for cell in rows("Rotating") for name in re.split("`, `", cell)}
    assert listed == rotated


def test_secrets_go_to_whom_the_page_says() -> None:
    whole = handed_out()
    for name, (_, services) in rows("Secrets").items():
        listed = set() if services == "–" else set(services.split(", "))
        assert whole.get(name, set()) == listed, name


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("pipeline", [False, True])
def test_only_known_secrets_are_handed_out_and_no_key_of_the_authority(
    pipeline: bool, tls: bool
) -> None:
    # Where alerts go is a person's own to write down; nothing makes those files.
    known = set(ALL_FILES) - {"tls_ca.key"} | set(SECRET_FILES.values())
    for consumer in consumers(pipeline=pipeline, tls=tls):
        assert set(consumer.secrets) <= known
        assert len(set(consumer.secrets)) == len(consumer.secrets)


def test_who_has_to_be_restarted_is_handed_the_secret() -> None:
    whole = handed_out()
    for name, password in PASSWORD_OF.items():
        assert set(password.restart) <= whole.get(name, set()), name
