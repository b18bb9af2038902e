"""How long Redis is busy with each script where a pipeline is far larger than any that runs here.

A real redis-server, the real scripts, no source and no sink: feeds are planned, windows leased and
committed, entries staged, settled and left in flight through the code that the services run. What
is measured is Redis' own time, as its slow log has it: for so long it answers nobody else.
"""
