"""The state machine of the window set and the stages, and the worlds that it runs in."""
