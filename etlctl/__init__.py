"""The operator's command.

``etlctl NAME`` is the module ``NAME``, or ``NAME/command.py`` where it takes more than one file;
what several commands share lies beside them.
"""
