"""What is tried is what scripts call."""

from __future__ import annotations

import re

from devtools import PROJECT_ROOT
from etlctl.doctor.redis_rights import OTHERS, WITH_KEY_FIRST


def test_every_command_of_the_scripts_is_tried() -> None:
    folder = PROJECT_ROOT / "common" / "state" / "lua"
    called = {
        name
        for file in folder.rglob("*.lua")
        for name in re.findall(r"p?call\(\s*'([A-Z]+)'", file.read_text(encoding="utf-8"))
    }
    assert "XADD" in called
    assert called <= WITH_KEY_FIRST.keys() | OTHERS.keys()
