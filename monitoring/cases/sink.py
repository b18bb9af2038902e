"""Cases of the alerts on the sink."""

from __future__ import annotations

from monitoring.cases.tables import absent, fires, of, over, quiet

_LOADER = "job='loader', instance='l:1'"
_PAUSED = f"etl_sink_paused{{{_LOADER}}}"
_STATE = f"etl_circuit_state{{{_LOADER}}}"
_CLOSED = f"etl_circuit_changes_total{{{_LOADER}, state='closed'}}"
_OPENED = f"etl_circuit_changes_total{{{_LOADER}, state='open'}}"
_EXPIRED = f"etl_dropped_samples_total{{{_LOADER}, reason='beyond_retention'}}"
_NAN = "etl_dropped_samples_total{job='transformer', instance='t:1', reason='nan'}"
_LIMITED = f"etl_sink_limited_lines_total{{{_LOADER}}}"
_UNKNOWN = "etl_sink_retention_unknown{job='loader', instance='l:1', tier='%s', configured='%s'}"
_DUE = "etl_seals_due{job='etl-metrics', instance='m:1'}"
_SEALED = f"etl_seals_written_total{{{_LOADER}}}"
_SHARE = f"etl_sink_rejected_share{{{_LOADER}}}"

CASES = (
    fires(
        "EtlSinkRefusesUs",
        "fires when the loader was paused for a minute",
        {_PAUSED: "0x8 1x20", "etl_sink_paused{job='loader', instance='l:2'}": "0x40"},
        of(
            "InfluxDB refuses the writes, and a retry cannot help: a token, a bucket, a capacity"
            " limit, or most of the points. Nothing is dropped; everything waits."
        ),
        at=240,
    ),
    quiet("EtlSinkRefusesUs", "is quiet while the sink takes points", {_PAUSED: "0x40"}, at=240),
    over(
        "EtlSinkRefusesUs",
        "is quiet about a pause of half a minute",
        {_PAUSED: "0x4 1x2 0x40"},
        at=135,
    ),
    absent("EtlSinkRefusesUs", "is quiet where there is no loader"),
    fires(
        "EtlCircuitOpen",
        "fires although the circuit is half open at times",
        {_STATE: "0x4 2 1 2 2 1 2 2 1 1 2 2 1 2 2 1 2 2 1 2 2"},
        of(
            "Posts to InfluxDB fail or time out one after the other. The loader tries one now and"
            " then; everything else waits."
        ),
        at=300,
    ),
    quiet(
        "EtlCircuitOpen",
        "is quiet about a circuit that closes again within a minute",
        {_STATE: "0x4 2 2 1 0x20"},
        at=240,
    ),
    over(
        "EtlCircuitOpen",
        "is quiet when the circuit has just closed",
        {_STATE: "0x4 2 2 1 0x20"},
        at=120,
    ),
    absent("EtlCircuitOpen", "is quiet where there is no loader"),
    fires(
        "EtlCircuitFlapping",
        "fires when the circuit closes again and again",
        {_CLOSED: "0x4 1x8 2x8 3x8 4x8 5x8 6x8", _OPENED: "0x4 1x8 2x8 3x8 4x8 5x8 6x8"},
        of("The loader's circuit closed 6 times in 15m, and opened as often."),
        at=840,
    ),
    fires(
        "EtlCircuitFlapping",
        "fires the first time, when no circuit had ever closed before",
        {_CLOSED: "_x40 1x2 2x2 3x2 4x60", f"up{{{_LOADER}}}": "1x100"},
        of("The loader's circuit closed 4 times in 15m, and opened as often."),
        at=1080,
    ),
    quiet(
        "EtlCircuitFlapping",
        "is quiet about a circuit that opens again and again and never closes",
        {_CLOSED: "1x60", _OPENED: "0+1x60"},
        at=840,
    ),
    absent("EtlCircuitFlapping", "is quiet where there is no loader"),
    fires(
        "EtlRejectedShareHigh",
        "fires when more than a tenth is rejected",
        {_SHARE: "0x4 0.25x40"},
        of(
            "InfluxDB rejects 25% of the latest points; they become dead letters. The"
            " loader pauses at load.max_rejected_share."
        ),
        at=240,
    ),
    quiet(
        "EtlRejectedShareHigh",
        "is quiet about a single rejected point",
        {_SHARE: "0.001x40"},
        at=240,
    ),
    over(
        "EtlRejectedShareHigh",
        "is quiet after half a minute of it",
        {_SHARE: "0x4 0.25x2 0x40"},
        at=135,
    ),
    absent("EtlRejectedShareHigh", "is quiet where there is no loader"),
    fires(
        "EtlSamplesBeyondRetention",
        "fires the first time, when the reason had no series before",
        {_EXPIRED: "_x40 500x40", f"up{{{_LOADER}}}": "1x100"},
        of(
            "500 samples of the last 15m were older than their bucket keeps points: `etlctl status`"
            " shows of which queries."
        ),
        at=960,
    ),
    fires(
        "EtlSamplesBeyondRetention",
        "fires when samples join those of before",
        {_EXPIRED: "500x60 530x60"},
        of(
            "30 samples of the last 15m were older than their bucket keeps points: `etlctl status`"
            " shows of which queries."
        ),
        at=1200,
    ),
    quiet(
        "EtlSamplesBeyondRetention",
        "is quiet about what was dropped long ago",
        {_EXPIRED: "500x120", f"up{{{_LOADER}}}": "1x120"},
        at=1800,
    ),
    quiet(
        "EtlSamplesBeyondRetention",
        "is quiet about samples that are dropped for another reason",
        {_NAN: "0+10x80", f"up{{{_LOADER}}}": "1x80"},
        at=1080,
    ),
    absent("EtlSamplesBeyondRetention", "is quiet where there is no loader"),
    fires(
        "EtlSinkLimitReached",
        "fires the first time, when nothing had been kept out before",
        {_LIMITED: "_x40 500x40", f"up{{{_LOADER}}}": "1x100"},
        of(
            "InfluxDB kept 500 points out in the last 15m, because a limit is reached for their"
            " measurement or tag. They are kept; everything else flows."
        ),
        at=960,
    ),
    quiet(
        "EtlSinkLimitReached",
        "is quiet about what was kept out long ago",
        {_LIMITED: "500x120", f"up{{{_LOADER}}}": "1x120"},
        at=1800,
    ),
    absent("EtlSinkLimitReached", "is quiet where there is no loader"),
    fires(
        "EtlSinkRetentionUnknown",
        "fires where neither the sink nor the configuration says it",
        {_UNKNOWN % ("hot", "false"): "1x40", _UNKNOWN % ("warm", "true"): "1x40"},
        of(
            "InfluxDB 3 does not say how long it keeps the points of the tier hot, and load.tiers"
            " gives no retention: it takes points that are too old and forgets them, and they count"
            " as loaded.",
            tier="hot",
        ),
        at=240,
    ),
    quiet(
        "EtlSinkRetentionUnknown",
        "is quiet where the configuration says it",
        {_UNKNOWN % ("hot", "true"): "1x40"},
        at=240,
    ),
    quiet(
        "EtlSinkRetentionUnknown",
        "is quiet where the sink says it",
        {_UNKNOWN % ("hot", "false"): "1 0x40"},
        at=240,
    ),
    absent("EtlSinkRetentionUnknown", "is quiet where the sink is no InfluxDB 3"),
    fires(
        "EtlSealsNotWritten",
        "fires when seals wait and none is written",
        {_DUE: "0x4 7x100", _SEALED: "40x104"},
        of(
            "7 seals of loaded windows wait in Redis, and none was written to the sink in 15m: what"
            " was loaded cannot be proven without the source. No point is concerned."
        ),
        at=1080,
    ),
    fires(
        "EtlSealsNotWritten",
        "fires where there is no loader to write them",
        {_DUE: "7x100"},
        of(
            "7 seals of loaded windows wait in Redis, and none was written to the sink in 15m: what"
            " was loaded cannot be proven without the source. No point is concerned."
        ),
        at=1080,
    ),
    quiet(
        "EtlSealsNotWritten",
        "is quiet while new ones come as they are written",
        {_DUE: "7x100", _SEALED: "0+1x104"},
        at=1080,
    ),
    quiet(
        "EtlSealsNotWritten",
        "is quiet while none wait",
        {_DUE: "0x100", _SEALED: "40x104"},
        at=1080,
    ),
    over(
        "EtlSealsNotWritten",
        "is quiet when they are written again",
        {_DUE: "0x4 7x100", _SEALED: "40x60 41x60"},
        at=960,
    ),
    absent("EtlSealsNotWritten", "is quiet where nothing is known of them"),
)
