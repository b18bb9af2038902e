"""``etlctl simulate``: put the simulated ETL process through a scenario, so that alerts fire."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import requests
import typer
from requests.auth import HTTPBasicAuth

from common.errors import ConfigError
from etlctl.failures import Unavailable
from etlctl.options import AsJson, read_secret_option
from etlctl.output import print_json
from services.simulator.scenario_request import BadRequest, request_of
from services.simulator.scenarios import REQUESTS

_TIMEOUT_SECONDS = 10.0
# Where the password is in a container, and where `etlctl secrets init` puts it.
_PASSWORD_FILES = (Path("/run/secrets/simulator_password"), Path("secrets/simulator_password"))

ScenarioName = Annotated[
    str | None,
    typer.Argument(
        metavar="SCENARIO", help=f"One of {', '.join(REQUESTS)}; not given: print what is in force."
    ),
]
Duration = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="DURATION",
        help="Recover after this time (90s, 10m, 1h30m); not given: only on request.",
    ),
]
Url = Annotated[
    str,
    typer.Option(
        "--url", metavar="URL", envvar="SIMULATOR_URL", help="Where the simulator listens."
    ),
]
Username = Annotated[
    str,
    typer.Option(
        "--username",
        metavar="NAME",
        envvar="SIMULATOR_USERNAME",
        help="User name of the simulator's HTTP.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        envvar="SIMULATOR_PASSWORD_FILE",
        help=f"File with the password; {' or '.join(map(str, _PASSWORD_FILES))} if not given.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        envvar="SIMULATOR_CA_FILE",
        help="Certificate of the authority that signed the certificate of a simulator on https.",
    ),
]


def simulate(
    scenario: ScenarioName = None,
    duration: Duration = None,
    url: Url = "http://127.0.0.1:8000",
    username: Username = "prometheus",
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Set the scenario of the simulated ETL process, or print it.

    Ends with 3 when the simulator cannot be reached or refuses.
    """
    if duration is not None and scenario is None:
        raise ConfigError("--for needs a scenario")
    if scenario is not None:
        try:
            request_of(scenario, duration)
        except BadRequest as error:
            raise ConfigError(str(error)) from None
    password = _password(password_file)
    if ca_file is not None and not ca_file.is_file():
        raise ConfigError(f"--ca-file: {ca_file} is no file")
    session = requests.Session()
    # A proxy or a .netrc file of the environment must not come between us and the simulator.
    session.trust_env = False
    # As bytes: requests would encode a text as Latin-1.
    session.auth = HTTPBasicAuth(username.encode(), password.encode())
    if ca_file is not None:
        session.verify = str(ca_file)
    with session:
        in_force = _request(session, url, scenario, duration)
    if as_json:
        print_json(in_force)
    else:
        typer.echo(_sentence(in_force))


def _password(file: Path | None) -> str:
    found = file or next(filter(Path.is_file, _PASSWORD_FILES), None)
    if found is None:
        places = " nor ".join(map(str, _PASSWORD_FILES))
        raise ConfigError(f"--password-file: not given, and there is neither {places}")
    return read_secret_option("--password-file", found)


def _request(
    session: requests.Session, url: str, scenario: str | None, duration: str | None
) -> dict[str, Any]:
    """What is in force now. Raises :class:`Unavailable` if the simulator does not report it."""
    where = f"{url.rstrip('/')}/scenario"
    send = partial(session.request, url=where, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
    try:
        if scenario is None:
            response = send("GET")
        else:
            until = {} if duration is None else {"for": duration}
            response = send("POST", json={"scenario": scenario} | until)
    except ValueError as error:
        # requests raises, among others, a ValueError for a text that is no URL.
        raise ConfigError(f"--url: {url}: {error}") from None
    except requests.RequestException as error:
        raise Unavailable(
            f"the simulator at {url} cannot be reached: {_root_cause(error)}"
        ) from None
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        raise Unavailable(f"the simulator at {url} refuses user name and password (401)")
    try:
        document = response.json()
        if response.status_code == HTTPStatus.OK:
            _sentence(document)
            return dict(document)
        message = str(document["error"])
    except (ValueError, KeyError, TypeError):
        message = "this is not the simulator's HTTP"
    raise Unavailable(f"the simulator at {url} answers {response.status_code}: {message}")


def _root_cause(error: BaseException) -> str:
    """The innermost cause in one line: it holds the system's own message."""
    while (cause := error.__context__ or error.__cause__) is not None:
        error = cause
    return " ".join(str(error).split()) or type(error).__name__


def _sentence(in_force: dict[str, Any]) -> str:
    until = in_force["until"]
    end = "until another request" if until is None else f"until {until}"
    return f"{in_force['scenario']}: since {in_force['since']}, {end}"
