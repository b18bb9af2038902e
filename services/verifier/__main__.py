"""``python -m services.verifier``: the verifier as a process."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports that take long
    from common import lean_imports
    from common.runtime.early_signals import end_at_once

    end_at_once(reads_again=True)
    lean_imports.begin()

import uuid
from contextlib import closing

from common.exit_codes import ExitCode
from common.runtime.readiness.identity_guard import IdentityGuard
from common.runtime.readiness.redis_check import check_redis
from common.runtime.service import Service, run
from common.runtime.stage import Lifecycle
from common.state.connection.redis_client import connect_as_set
from common.state.keys import Keys
from common.state.proven import ProofRecord
from services.verifier.proving.budget import CpuBudget
from services.verifier.proving.prove import LEASE_SECONDS, Prover


def main(service: Service) -> ExitCode:
    """Compare until the service stops."""
    settings = service.settings
    with closing(connect_as_set(settings.pipeline)) as redis:
        check_redis(service, redis)
        keys = Keys(settings.pipeline.redis_namespace)
        record = ProofRecord(redis, keys, uuid.uuid4().hex, LEASE_SECONDS)
        guard = IdentityGuard(redis, settings, service.telemetry)
        budget = CpuBudget(settings.verify.cpu_share)
        life = Lifecycle(service.stop, service.tick, service.set_ready)
        Prover(settings, life, service.telemetry, record, guard, budget=budget).run()
    return ExitCode.OK


if __name__ == "__main__":
    run("verifier", main)
