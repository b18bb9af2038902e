"""``etlctl backup`` and ``etlctl restore``: docs/backup.md."""
