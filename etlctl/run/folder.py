"""The folder that ``etlctl run`` keeps its data in, and how other commands find its Redis there.

Its name is that of the configuration file with ``-data``, beside it, unless ``--data`` or
``ETL_DATA`` names another. ``redis.json`` says where the Redis of ``etlctl run`` answers: a command
whose configuration names no Redis goes there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import ConfigError

DATA_VARIABLE = "ETL_DATA"
URL_VARIABLE = "ETL__PIPELINE__REDIS_URL"
PASSWORD_FILE_VARIABLE = f"{URL_VARIABLE.removesuffix('URL')}PASSWORD_FILE"
_ADDRESS = "redis.json"
_LOCK = "run.lock"


def data_folder(config: Path, given: Path | None = None) -> Path:
    """Where the data of a run with this configuration is."""
    named = given or os.environ.get(DATA_VARIABLE)
    return Path(named) if named else config.parent / f"{config.stem}-data"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have the folder alone, made if it is not there; it is open to nobody else.

    Raises :class:`ConfigError` when another run has it, or it cannot be used.
    """
    import fcntl  # not on every system that the other commands run on

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "?"
            raise ConfigError(
                f"--data: {folder}: another etlctl run (process {owner}) has this folder: stop it, "
                "or name another folder"
            ) from None
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise _unusable(folder, error) from None
        yield
    finally:
        os.close(file)


def owner_of(folder: Path) -> int | None:
    """The process id of the run that has the folder; None where none has."""
    try:
        file = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:
        return None
    import fcntl  # see above; where there is none, there is no run

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(file, 20, 0).decode("ascii", "replace").strip()
        return int(owner) if owner.isdecimal() else None
    else:
        return None
    finally:
        os.close(file)


def write_address(folder: Path, url: str, password_file: Path) -> None:
    """Note where the run's own Redis answers, and the file that holds its password."""
    temporary = folder / f".{_ADDRESS}"
    address = {"redis_url": url, "redis_password_file": str(password_file.absolute())}
    temporary.write_text(json.dumps(address), encoding="utf-8")
    temporary.replace(folder / _ADDRESS)


def forget_address(folder: Path) -> None:
    """The configuration names a Redis now."""
    (folder / _ADDRESS).unlink(missing_ok=True)


def address_of(folder: Path) -> dict[str, str] | None:
    """What :func:`write_address` noted; None if there is nothing."""
    try:
        found = json.loads((folder / _ADDRESS).read_text(encoding="utf-8"))
        return {name: str(found[name]) for name in ("redis_url", "redis_password_file")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def use_redis_of_run(
    config: Path | None, environ: MutableMapping[str, str] | None = None
) -> Path | None:
    """Have the configuration's Redis be that of ``etlctl run`` where none is named; ``config``."""
    environ = os.environ if environ is None else environ
    file = config or Path("config/etl.yaml")
    address = None if environ.get(URL_VARIABLE) else address_of(data_folder(file))
    if address is not None and not _names_redis(file):
        environ[URL_VARIABLE] = address["redis_url"]
        environ[PASSWORD_FILE_VARIABLE] = address["redis_password_file"]
    return config


def folder_of_redis(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of the run whose Redis :func:`use_redis_of_run` took, if it took one."""
    folder = Path(environ.get(PASSWORD_FILE_VARIABLE, "")).parent
    known = address_of(folder) or {}
    return folder if known.get("redis_url") == environ.get(URL_VARIABLE, "") else None


def _names_redis(file: Path) -> bool:
    import yaml

    try:
        found: Any = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return True  # whoever reads it for good says what is wrong
    pipeline = found.get("pipeline") if isinstance(found, dict) else None
    return isinstance(pipeline, dict) and bool(pipeline.get("redis_url"))


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"--data: {folder}: cannot be used: {error.strerror}")
