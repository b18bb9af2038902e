"""How the sink is reached and asked, by whoever talks to it: the loader and etlctl."""
