"""What has to be known: from options, from the terminal, or by default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from common.errors import ConfigError, SinkError, SourceError
from etlctl.init.source import Job
from etlctl.options import read_secret_option

DEFAULTS = {
    "--prometheus-url": "http://localhost:9090",
    "--influxdb-url": "http://localhost:8086",
    "--org": "monitoring",
    "--bucket": "health_metrics",
}


# Keys of etl.yaml that an option becomes, as errors name them.
_KEYS = {
    "extract.prometheus_url": "--prometheus-url",
    "extract.replicas": "--prometheus-url",
    "extract.sources": "--source",
    "extract.auth": "--prometheus-username or --prometheus-bearer-token-file",
    "extract.auth.ca_file": "--prometheus-ca-file",
    "extract.header_files": "--prometheus-header-file",
    "extract.params": "--prometheus-param",
    "load.influxdb.url": "--influxdb-url",
    "load.influxdb.token": "--influxdb-token-file",
    "load.influxdb.token_file": "--influxdb-token-file",
    "load.influxdb.password_file": "--influxdb-password-file",
    "load.influxdb.ca_file": "--influxdb-ca-file",
}
_KEY = re.compile(r"\b(?:extract|load)(?:\.[a-z_]+)+")


def with_options(text: str) -> str:
    """``text`` with options in the place of keys: there is no etl.yaml yet."""
    return _KEY.sub(lambda found: _KEYS.get(found[0], found[0]), text)


@contextmanager
def naming_options() -> Iterator[None]:
    """Have errors of the servers name options."""
    try:
        yield
    except (SourceError, SinkError) as error:
        error.args = (with_options(str(error)), *error.args[1:])
        raise


class Asking:
    """Asks on the terminal, or takes defaults where nobody is to be asked."""

    def __init__(self, *, interactive: bool) -> None:
        self.interactive = interactive

    def text(self, option: str, given: str | None, question: str) -> str:
        """An option's value: as given, as answered, or its default."""
        if given is not None:
            return given
        if not self.interactive:
            return DEFAULTS[option]
        answer: str = typer.prompt(question, default=DEFAULTS[option], err=True)
        return answer.strip()

    def secret(self, question: str) -> str:
        """A secret that is not shown; empty = none, as where nobody is asked."""
        if not self.interactive:
            return ""
        answer: str = typer.prompt(
            question, default="", hide_input=True, show_default=False, err=True
        )
        return answer.strip()

    def yes(self, question: str) -> bool:
        """Whether it is wanted; yes where nobody is asked."""
        return not self.interactive or typer.confirm(question, default=True, err=True)

    def jobs(self, found: Sequence[Job], given: Sequence[str]) -> list[Job]:
        """Which jobs are to be extracted. Raises :class:`ConfigError` for one that is not there."""
        names = list(given)
        if not names and self.interactive and len(found) > 1:
            answer: str = typer.prompt(
                "Jobs to extract, separated by commas", default="all", err=True
            )
            if answer.strip() != "all":
                names = [name.strip() for name in answer.split(",") if name.strip()]
        if not names:
            return list(found)
        by_name = {job.name: job for job in found}
        if unknown := [name for name in names if name not in by_name]:
            known = ", ".join(by_name) or "none"
            raise ConfigError(
                *(
                    f"--job: Prometheus scrapes no job {name!r}: there are {known}"
                    for name in unknown
                )
            )
        return [by_name[name] for name in dict.fromkeys(names)]


def pairs(option: str, given: Sequence[str]) -> Mapping[str, str]:
    """``NAME=TEXT`` of an option that can be given several times.

    Raises :class:`ConfigError` for anything else, without the text.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not (name and equals and text):
            raise ConfigError(f"{option}: must be a name and a text with = between them")
        if name in found:
            raise ConfigError(f"{option}: {name} is given twice")
        found[name] = text
    return found


def path_of(file: Path | None) -> str:
    """The absolute path of a file that etl.yaml will name; empty for none."""
    return "" if file is None else str(file.absolute())


def secret_file(option: str, file: Path | None) -> str:
    """The absolute path of a file with a secret, which was read once; empty for none.

    Raises :class:`ConfigError` where it cannot be used.
    """
    if file is not None:
        read_secret_option(option, file)
    return path_of(file)
