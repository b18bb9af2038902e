"""The history of ``etlctl verify``'s tests, in a Prometheus of this package's own."""

from tests.integration.etlctl.verify.conftest import prometheus, start_ms, world

__all__ = ["prometheus", "start_ms", "world"]
