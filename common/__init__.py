"""What every service shares: batches, streams, the ledger, settings and telemetry."""
