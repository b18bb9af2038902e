"""What the stand-in keeps, in a JSON file: organisations, buckets, tokens and their rights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devtools.servers.influx_api.wire import Refused, parse_id

RESOURCES = (
    "authorizations buckets dashboards orgs sources tasks telegrafs users variables scrapers "
    "secrets labels views documents notificationRules notificationEndpoints checks dbrp notebooks "
    "annotations remotes replications"
).split()


@dataclass(frozen=True, slots=True)
class Permission:
    """The right to read or write resources of a type: one, those of an organisation, or all."""

    action: str
    type: str
    id: str | None = None
    org_id: str | None = None

    def covers(self, wanted: Permission) -> bool:
        """Whether who has this may do ``wanted``, which is about one resource."""
        if (self.action, self.type) != (wanted.action, wanted.type):
            return False
        if self.id is None:
            return self.org_id is None or self.org_id == wanted.org_id
        return self.id == wanted.id

    def __str__(self) -> str:
        inside = f"orgs/{self.org_id}/" if self.org_id else ""
        which = f"/{self.id}" if self.id else ""
        return f"{self.action}:{inside}{self.type}{which}"

    @classmethod
    def read(cls, document: Any) -> Permission:
        """From its JSON form; raises :class:`Refused` with InfluxDB's message."""
        try:
            resource = document["resource"]
            action, kind = document["action"], resource["type"]
        except (TypeError, KeyError):
            action = kind = ""
            resource = {}
        if kind not in RESOURCES and kind != "instance":
            raise Refused(
                "invalid",
                "invalid resource type for permission: unknown resource type for permission",
            )
        if action not in ("read", "write"):
            raise Refused(
                "invalid", "invalid action type for permission: unknown action for permission"
            )
        ids = [resource.get(key) for key in ("id", "orgID")]
        which, org = (None if text is None else parse_id(text) for text in ids)
        return cls(action, kind, which, org)


@dataclass(slots=True)
class Org:
    """An organisation."""

    id: str
    name: str
    description: str
    created_at: str


@dataclass(slots=True)
class Bucket:
    """A bucket; retention 0 = for ever."""

    id: str
    org_id: str
    name: str
    type: str
    description: str
    retention_seconds: int
    shard_seconds: int
    created_at: str


@dataclass(slots=True)
class Authorization:
    """A token and what it may."""

    id: str
    org_id: str
    token: str
    status: str
    description: str
    permissions: list[Permission]
    created_at: str

    def may(self, wanted: Permission) -> bool:
        """Whether the token is active and has the right."""
        return self.status == "active" and any(p.covers(wanted) for p in self.permissions)


@dataclass(slots=True)
class State:
    """Everything that is kept; in a file if there is a path."""

    path: Path | None = None
    user_id: str = ""
    orgs: list[Org] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)
    authorizations: list[Authorization] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> State:
        """What was saved, or nothing yet. Raises :class:`ValueError` for any other file."""
        state = cls(path)
        if not path.exists():
            return state
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            state.user_id = kept["user_id"]
            state.orgs = [Org(**one) for one in kept["orgs"]]
            state.buckets = [Bucket(**one) for one in kept["buckets"]]
            for one in kept["authorizations"]:
                permissions = [Permission(**permission) for permission in one.pop("permissions")]
                state.authorizations.append(Authorization(**one, permissions=permissions))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no state of this program: {error!r}") from None
        return state

    def save(self) -> None:
        """Write the file whole; it holds tokens, so only its owner can read it."""
        if self.path is None:
            return
        kept = asdict(self)
        del kept["path"]
        part = self.path.with_name(f".{self.path.name}.part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        part.replace(self.path)
