"""Which bucket lines go to, and who else writes to it."""
