"""``etlctl identity``: which source and sink the namespace in Redis belongs to."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from common.config import load_settings
from common.errors import EtlError
from common.state.identity import IdentityRecord, conflict, identity_of
from etlctl.connect import redis_of
from etlctl.options import AsJson, ConfigFile
from etlctl.output import print_json, stdout

Accept = Annotated[
    bool,
    typer.Option(
        "--accept", help="The pipeline has moved: the namespace belongs to this configuration."
    ),
]


class OtherPipeline(EtlError):
    """The namespace belongs to a pipeline with another source or sink."""


def identity(config: ConfigFile = None, accept: Accept = False, as_json: AsJson = False) -> None:
    """Show which source and sink the Redis namespace belongs to.

    Ends with 1 when they are not those of the configuration: the stages pause then.
    """
    settings = load_settings(config, secrets=("pipeline",))
    redis, keys = redis_of(settings.pipeline)
    ours = identity_of(settings)
    with closing(redis):
        record = IdentityRecord(redis, keys)
        if accept:
            record.accept(ours)
        recorded = record.read()
    if as_json:
        print_json({"recorded": recorded and asdict(recorded), "configured": asdict(ours)})
    elif recorded is None:
        stdout().print("The namespace belongs to no pipeline yet.", markup=False)
    else:
        stdout().print(f"source  {recorded.source}\nsink    {recorded.sink}", markup=False)
    reason = recorded and conflict(ours, recorded, keys.namespace)
    if reason:
        raise OtherPipeline(reason)
