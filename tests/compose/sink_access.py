"""The loader's own access to the sink: its token spoilt, and used from inside the deployment."""

from __future__ import annotations

from tests.compose.project import Project


def put_token(project: Project, text: str) -> None:
    """Overwrite the loader's token."""
    project.docker(
        *("run", "--rm", "--network", "none", "--volume", f"{project.name}_sink-token:/run/sink"),
        *("--entrypoint", "python", "etl-etlctl:test", "-c"),
        "import pathlib; path = pathlib.Path('/run/sink/influxdb_token'); "
        f"path.chmod(0o600); path.write_text({text!r})",
    )


def sink_call(project: Project, method: str, path: str, body: str) -> None:
    """A request to the sink with the loader's own token, from inside the deployment."""
    code = (
        "import sys, urllib.request as r; method, path, body = sys.argv[1:]; "
        "token = open('/run/sink/influxdb_token').read().strip(); "
        "q = r.Request('http://influxdb:8086' + path, body.encode(), "
        "{'Authorization': 'Token ' + token}, method=method); r.urlopen(q, timeout=10).read()"
    )
    project.docker("exec", project.tool, "python", "-c", code, method, path, body)
