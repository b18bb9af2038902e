"""``etlctl init``: from two addresses to an etl.yaml that fits what is there."""
