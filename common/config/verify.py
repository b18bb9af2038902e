"""Settings of the verifier: how often, and for how much of the processor."""

from __future__ import annotations

from pydantic import Field

from common.config.fields import AutoOrOff, Seconds, Section, Share


class VerifySettings(Section):
    """How the sink is proven to hold what the source holds, without being asked."""

    enabled: bool = Field(True, description="Whether the verifier compares anything.")
    cpu_share: Share = Field(
        0.05,
        gt=0,
        le=1,
        description="Share of one core that the verifier takes on average while it compares; 5 % "
        "compare some 20,000 to 50,000 samples a second.",
    )
    every_seconds: Seconds = Field(
        300,
        gt=0,
        description="How often it begins to compare what had its last recount meanwhile; what it "
        "has not caught up with goes on at once.",
    )
    repair: AutoOrOff = Field(
        "auto",
        description="Whether what is missing or different in the sink is extracted again by "
        "itself, while the source still has it. Points that should not be there are left as they "
        "are.",
    )
    again_seconds: Seconds = Field(
        3600,
        gt=0,
        description="After how long a range that differs is compared again, until it is equal or "
        "the source has deleted it.",
    )
    sink_restart_seconds: Seconds = Field(
        86_400,
        ge=0,
        description="What was proven first within so long before InfluxDB was found to have been "
        "started anew is compared again: after a crash, a second start can lose what it accepted "
        "since the first. 0 = never.",
    )
