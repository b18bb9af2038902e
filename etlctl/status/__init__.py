"""``etlctl status``: where the pipeline stands, on one screen."""
