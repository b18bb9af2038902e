"""``etlctl import``: an etl.yaml from what people ran before."""
