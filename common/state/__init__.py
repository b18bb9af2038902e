"""Everything that lies in Redis: keys, streams, windows, the ledger, dead letters."""
