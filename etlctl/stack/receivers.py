"""Whether Grafana can use the receivers of alerts that it is given: told before and after a start.

One that is wrong stops nothing (:mod:`deploy.image.receiver_secrets`), so somebody must say it.
"""

from __future__ import annotations

from deploy.image.receiver_secrets import named_in, problem_with
from etlctl.stack.project import Project


def receiver_problems(project: Project) -> list[str]:
    """A sentence for each secret that Grafana's receivers name and that is missing or wrong."""
    grafana = project.services.get("grafana")
    if grafana is None or grafana.receivers is None:
        return []
    file = grafana.receivers
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        return [
            f"{file}: Grafana's receivers cannot be read ({why}), and without them it does not "
            "start: render them with `python -m monitoring receivers --output FILE`"
        ]
    found = []
    for name in sorted(named_in(text)):
        path = project.secret_files.get(name)
        why = "is not mounted" if path is None else problem_with(name, path)
        if why:
            found.append(
                f"alerts do not reach the receiver of {name}: {path or name}: {why} "
                f"({name.upper()}_FILE, docs/monitoring.md)"
            )
    return found
