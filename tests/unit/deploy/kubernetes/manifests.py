"""Manifests as data, and what is wrong with them that no schema of Kubernetes finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Document = dict[str, Any]
SECRETS = "/run/etl-secrets"
_UNITS = {"": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_WORKLOADS = ("Deployment", "Job", "StatefulSet")


def documents(text: str) -> list[Document]:
    """The objects of a rendered text."""
    # libyaml's loader, which takes a tenth of the time.
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def named(all_documents: list[Document], kind: str) -> dict[str, Document]:
    """Objects of a kind by the name of their component, or their own name."""
    found = {}
    for one in all_documents:
        if one["kind"] == kind:
            metadata = one["metadata"]
            component = metadata["labels"].get("app.kubernetes.io/component")
            found[component or metadata["name"]] = one
    return found


def pod(deployment: Document) -> Document:
    """Its pods' specification."""
    spec: Document = deployment["spec"]["template"]["spec"]
    return spec


def container(deployment: Document) -> Document:
    """The one container of its pods."""
    (only,) = pod(deployment)["containers"]
    found: Document = only
    return found


def environment(deployment: Document) -> dict[str, str]:
    """Variables of that container."""
    return {one["name"]: one["value"] for one in container(deployment).get("env", ())}


def probes(deployment: Document) -> Document:
    """Its probes by kind."""
    return {kind: probe for kind, probe in container(deployment).items() if kind.endswith("Probe")}


def secret_files(deployment: Document) -> dict[str, tuple[str, str]]:
    """Path in the container of each mounted secret → name of the Secret and key in it."""
    return {
        f"{SECRETS}/{item['path']}": (source["secret"]["name"], item["key"])
        for volume in pod(deployment)["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }


def amount(quantity: str | float) -> float:
    """A quantity of Kubernetes as a number."""
    match = re.fullmatch(r"([0-9.]+)(\w*)", str(quantity))
    assert match, quantity
    return float(match[1]) * _UNITS[match[2]]


def problems(all_documents: list[Document]) -> list[str]:
    """What is wrong, a line for each; none if all is well."""
    names = [(one["kind"], one["metadata"]["name"]) for one in all_documents]
    found = [
        f"{kind} {name} is there twice" for kind, name in names if names.count((kind, name)) > 1
    ]
    for one in all_documents:
        where = f"{one['kind']} {one['metadata']['name']}"
        checks = [_selector(one, all_documents), _target(one, all_documents)]
        if one["kind"] in _WORKLOADS:
            checks += [_resources(one), _ports(one), _volumes(one, all_documents), _confined(one)]
        found += [f"{where}: {problem}" for check in checks for problem in check]
        if len(one["metadata"]["name"]) > 63:
            found.append(f"{where}: the name has more than 63 characters")
    return found


def _labels(selector: Document) -> Document:
    labels: Document = selector.get("matchLabels", selector)
    return labels


def _selected(selector: Document, all_documents: list[Document]) -> list[Document]:
    wanted = _labels(selector).items()
    return [
        one
        for one in all_documents
        if one["kind"] in _WORKLOADS
        and wanted <= one["spec"]["template"]["metadata"]["labels"].items()
    ]


def _selector(one: Document, all_documents: list[Document]) -> Iterator[str]:
    key = "podSelector" if one["kind"] == "NetworkPolicy" else "selector"
    selector = one.get("spec", {}).get(key)
    if selector is None:
        return
    if one["kind"] == "ServiceMonitor":
        wanted = _labels(selector).items()
        of = [
            s
            for s in all_documents
            if s["kind"] == "Service" and wanted <= s["metadata"]["labels"].items()
        ]
        ports = {port["name"] for service in of for port in service["spec"]["ports"]}
        asked = {endpoint["port"] for endpoint in one["spec"]["endpoints"]}
    else:
        of = _selected(selector, all_documents)
        ports = {port["name"] for each in of for port in container(each).get("ports", ())}
        asked = set()
        if one["kind"] == "Service":
            asked = {port["targetPort"] for port in one["spec"]["ports"]}
        elif one["kind"] == "NetworkPolicy":
            asked = {port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]}
    if one["kind"] == "Deployment" and one not in of:
        yield "the selector is not of its own pods"
    elif len(of) != 1:
        yield f"the selector is of {len(of)} objects"
    if asked - ports:
        yield f"names ports that are not there: {sorted(asked - ports)}"


def _target(one: Document, all_documents: list[Document]) -> Iterator[str]:
    target = one.get("spec", {}).get("scaleTargetRef")
    if target is None:
        return
    of = [
        d
        for d in all_documents
        if d["kind"] == "Deployment" and d["metadata"]["name"] == target["name"]
    ]
    if not of:
        yield f"scales {target['name']}, which is not there"
    elif "replicas" in of[0]["spec"]:
        yield "scales what has a fixed number of replicas"


def _resources(one: Document) -> Iterator[str]:
    limits, requests = (container(one)["resources"][part] for part in ("limits", "requests"))
    for name in ("cpu", "memory"):
        if name not in limits or name not in requests:
            yield f"{name} has no limit or no request"
        elif amount(requests[name]) > amount(limits[name]):
            yield f"requests more {name} than its limit"


def _ports(one: Document) -> Iterator[str]:
    names = {port["name"] for port in container(one).get("ports", ())}
    for name in names:
        if not re.fullmatch(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", name):
            yield f"{name} is no name of a port"
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if names and kind not in container(one):
            yield f"has no {kind}"
        elif names and container(one)[kind]["httpGet"]["port"] not in names:
            yield f"{kind} names a port that is not there"


def _volumes(one: Document, all_documents: list[Document]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in pod(one)["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(one)["volumeMounts"]}
    if volumes.keys() != mounts.keys():
        yield f"mounts {sorted(mounts)}, has {sorted(volumes)}"
    made = {d["metadata"]["name"] for d in all_documents if d["kind"] == "ConfigMap"}
    for volume in volumes.values():
        if "configMap" in volume and volume["configMap"]["name"] not in made:
            yield f"mounts {volume['configMap']['name']}, which is not there"
        if "projected" in volume and volume["projected"]["defaultMode"] & 0o007:
            yield "everybody may read its secrets"
    for name, value in environment(one).items():
        if name.endswith("_FILE") and value.startswith("/") and value not in secret_files(one):
            yield f"{name} names {value}, which is not mounted"


def _confined(one: Document) -> Iterator[str]:
    """The restricted profile of the pod security standards, and what we add to it."""
    spec, own = pod(one), container(one)["securityContext"]
    whole = spec["securityContext"]
    if not (
        whole["runAsNonRoot"]
        and whole["seccompProfile"] == {"type": "RuntimeDefault"}
        and own["allowPrivilegeEscalation"] is False
        and own["capabilities"] == {"drop": ["ALL"]}
        and own["readOnlyRootFilesystem"]
    ):
        yield "does not meet the restricted profile, or may write to its image"
    if spec["automountServiceAccountToken"] or spec["enableServiceLinks"]:
        yield "is given a token or the addresses of all Services"
