"""How the sink is reached and asked, by whoever talks to it: loader, verifier and etlctl."""
