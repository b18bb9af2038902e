"""Contact points, the policy tree and the message template, as Grafana provisions them."""

from __future__ import annotations

from typing import Any

from deploy.image.receiver_secrets import SECRET_FILES
from monitoring.model import Severity
from monitoring.promql import duration
from monitoring.render.grafana_alerts import ORG
from monitoring.render.prometheus_config import SECRETS
from monitoring.render.receivers import SEVERITIES, Receivers
from monitoring.render.timing import NOTIFY

WATCHDOG = "EtlWatchdog"
# A contact point must exist for the policy tree to name. Nothing is ever sent to this one.
NOBODY = "etl-nobody"
ALWAYS = "etl-always"
_WATCHDOG_POINT = "etl-watchdog"
_KINDS = ("email", "webhook", "slack", "pagerduty")

TITLE = '{{ template "etl.title" . }}'
MESSAGE = '{{ template "etl.message" . }}'
_TEMPLATE = """\
{{ define "etl.title" -}}
{{ if gt (len .Alerts.Firing) 0 }}FIRING {{ len .Alerts.Firing }}{{ else }}RESOLVED{{ end }}
{{- with .CommonLabels.severity }} ({{ . }}){{ end }}
{{- with .GroupLabels.alertname }} {{ . }}{{ end }}
{{- with .CommonLabels.job }} {{ . }}{{ end }}
{{- with .CommonLabels.stage }} {{ . }}{{ end }}
{{- with .CommonLabels.stream }} {{ . }}{{ end }}
{{- with .CommonLabels.query }} {{ . }}{{ end }}
{{- with .CommonLabels.tier }} ({{ . }}){{ end }}
{{- with .CommonLabels.instance }} {{ . }}{{ end }}
{{- with .CommonAnnotations.summary }}: {{ . }}{{ end }}
{{- end }}

{{ define "etl.message" -}}
{{ range .Alerts.Firing -}}
{{ .Labels.alertname }} fires since {{ .StartsAt.Format "2006-01-02 15:04:05 MST" }}
{{- with .Annotations.waited }}; the fault began {{ . }} before, or earlier{{ end }}
{{- with .Annotations.description }}
{{ . }}
{{- end }}
{{- with .Annotations.first_step }}
First: {{ . }}
{{- end }}
{{- with .PanelURL }}
Panel: {{ . }}
{{- end }}
{{- with .SilenceURL }}
Silence: {{ . }}
{{- end }}

{{ end -}}
{{ range .Alerts.Resolved -}}
{{ .Labels.alertname }} is over since {{ .EndsAt.Format "2006-01-02 15:04:05 MST" }}
{{ end -}}
{{ if .CommonAnnotations.runbook -}}
Runbook: {{ .ExternalURL }}{{ .CommonAnnotations.runbook }}
{{ end -}}
{{- end }}
"""


def receivers_file(receivers: Receivers) -> dict[str, Any]:
    """The content of the provisioning file; valid in Grafana whatever is configured."""
    points: list[dict[str, Any]] = []
    deleted = []
    for severity in SEVERITIES:
        kinds = receivers.kinds(severity)
        if kinds:
            points.append(
                {
                    "orgId": ORG,
                    "name": _point(severity),
                    "receivers": [_receiver(kind, severity, receivers) for kind in kinds],
                }
            )
        deleted += [_uid(kind, severity) for kind in _KINDS if kind not in kinds]
    watched = "watchdog" in receivers.files
    if watched:
        points.append(_contact_point(_WATCHDOG_POINT, _WATCHDOG_POINT, "webhook", _heartbeat()))
    else:
        deleted.append(_WATCHDOG_POINT)
    nobody = {"addresses": "nobody@localhost", "singleEmail": True}
    points.append(_contact_point(NOBODY, NOBODY, "email", nobody))
    return {
        "apiVersion": 1,
        "contactPoints": points,
        # What was configured once and is no more: Grafana keeps it until a file deletes it.
        "deleteContactPoints": [{"orgId": ORG, "uid": uid} for uid in deleted],
        "muteTimes": [
            {
                "orgId": ORG,
                "name": ALWAYS,
                "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}],
            }
        ],
        "templates": [{"orgId": ORG, "name": "etl", "template": _TEMPLATE}],
        "policies": [_policies(receivers, watched)],
    }


def _policies(receivers: Receivers, watched: bool) -> dict[str, Any]:
    routes = [_route("alertname", "=", WATCHDOG, _WATCHDOG_POINT if watched else None, "none")]
    sent = [severity for severity in SEVERITIES if receivers.kinds(severity)]
    for severity in SEVERITIES:
        point = _point(severity) if severity in sent else None
        routes.append(_route("severity", "=", severity, point, severity))
    # The tree is the whole organisation's: alerts that others made are sent like the least
    # severe of ours.
    others = _point(sent[-1]) if sent else None
    routes.append(_route("alertname", "=~", ".+", others, "warning"))
    return {
        "orgId": ORG,
        "receiver": NOBODY,
        "group_by": ["grafana_folder", "alertname"],
        "routes": routes,
    }


def _route(
    label: str, operator: str, value: str, point: str | None, severity: Severity
) -> dict[str, Any]:
    """A branch of the tree; without a contact point it is silent for good."""
    timing = NOTIFY[severity]
    route: dict[str, Any] = {
        "receiver": point or NOBODY,
        "object_matchers": [[label, operator, value]],
        "group_wait": duration(timing.group_wait_seconds) if timing.group_wait_seconds else "0s",
        "group_interval": duration(timing.group_interval_seconds),
        "repeat_interval": duration(timing.repeat_interval_seconds),
    }
    if point is None:
        route["mute_time_intervals"] = [ALWAYS]
    return route


def _point(severity: str) -> str:
    return f"etl-{severity}"


def _uid(kind: str, severity: str) -> str:
    return f"etl-{severity}-{kind}"


def _contact_point(name: str, uid: str, kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "orgId": ORG,
        "name": name,
        "receivers": [{"uid": uid, "type": kind, "settings": settings}],
    }


def _receiver(kind: str, severity: str, receivers: Receivers) -> dict[str, Any]:
    return {
        "uid": _uid(kind, severity),
        "type": kind,
        "settings": _settings(kind, severity, receivers),
        "disableResolveMessage": False,
    }


def _settings(kind: str, severity: str, receivers: Receivers) -> dict[str, Any]:
    if kind == "email":
        return {
            "addresses": ";".join(receivers.email_to),
            "singleEmail": True,
            "subject": TITLE,
            "message": MESSAGE,
        }
    if kind == "slack":
        return {"url": _secret("slack"), "title": TITLE, "text": MESSAGE}
    if kind == "pagerduty":
        return {
            "integrationKey": _secret("pagerduty"),
            "severity": severity,
            "class": "{{ .CommonLabels.alertname }}",
            "component": "etl",
            "group": "etl",
            "summary": TITLE,
        }
    webhook: dict[str, Any] = {
        "url": receivers.webhook_url or _secret("webhook"),
        "httpMethod": "POST",
        "title": TITLE,
        "message": MESSAGE,
    }
    if "webhook_token" in receivers.files:
        webhook["authorization_scheme"] = "Bearer"
        webhook["authorization_credentials"] = _secret("webhook_token")
    return webhook


def _heartbeat() -> dict[str, Any]:
    return {"url": _secret("watchdog"), "httpMethod": "POST"}


def _secret(kind: str) -> str:
    return f"$__file{{{SECRETS}/{SECRET_FILES[kind]}}}"
