"""The load handler: entries of points to the sink, its answers to verdicts.

Entries with the same bucket are posted together, as they are (gzip members concatenate). Each is
settled by itself: when the sink refuses something, the answer for the group is traced back line by
line. Whatever cannot be decided now goes back with nothing settled, and the lines that were written
meanwhile are written again, which changes nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from common.config.load import LoadSettings
from common.errors import WireError
from common.runtime.telemetry import Telemetry
from common.state.verdict import DeadLetter, Entry, Pause, Retry, Settle, Verdict
from services.loader import lines as wire
from services.loader.batch import Batch, Group, Groups
from services.loader.dead_letters import letters
from services.loader.influx import Sink
from services.loader.isolate import BAD, Interrupted, Isolation, Lines, Refusal
from services.loader.isolation_cache import IsolationCache, known_as
from services.loader.poster import Poster, WriteRequest, described
from services.loader.rejected_share import REJECTED_SHARE, RejectedShare
from services.loader.responses import Kind, Outcome

BEYOND_RETENTION = "beyond_retention"
SINK_CLOCK = "sink_clock"
CORRUPT = "corrupt"

# No InfluxDB can be told to forget sooner than after an hour; the rest is for clocks that differ.
# What it refuses as too old though it is younger is refused in error: its clock may be ahead.
YOUNG_SECONDS = 3000.0

# A search that takes longer goes on with the next delivery; far below what a stage lets pass.
BUDGET_SECONDS = 240.0


class LoadHandler:
    """:class:`common.state.verdict.Handler` of the loader.

    ``stopping`` says that the service is to stop: nothing more is posted. ``tick`` is called after
    each post, so that a long search is seen to be alive. ``still_ours`` is asked before each post
    whether the entries with these ids are still leased to us; if not, nothing is posted for them.
    """

    def __init__(
        self,
        settings: LoadSettings,
        sink: Sink,
        telemetry: Telemetry,
        *,
        stopping: Callable[[], bool] = lambda: False,
        tick: Callable[[], None] = lambda: None,
        still_ours: Callable[[Sequence[str]], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._telemetry = telemetry
        self._clock = clock
        self._wall_clock = wall_clock
        self._tiers = {str(name): tier for name, tier in settings.tiers.items()}
        self._group_samples = settings.group_samples
        self._findings = IsolationCache(clock=clock)
        self._share = RejectedShare(
            max_share=settings.max_rejected_share, min_samples=settings.rejected_share_min_samples
        )
        self._poster = Poster(
            settings,
            sink,
            telemetry,
            stopping=stopping,
            tick=tick,
            still_ours=still_ours,
            clock=clock,
            rng=rng or random.Random(),
        )
        self._pool = ThreadPoolExecutor(settings.connections, thread_name_prefix="post")

    @property
    def stage(self) -> str:
        """The stage's name in metrics and dead letters."""
        return "loader"

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        """One verdict for each entry, in order; see docs/sink-answers.md."""
        batch = Batch(
            entries,
            deadline_seconds=self._clock() + BUDGET_SECONDS,
            probing=self._poster.gate.cause == REJECTED_SHARE,
        )
        groups = self._plan(batch)
        if groups and (self._poster.probing or len(groups) == 1):
            # While the sink is in doubt, one post finds out and the others follow if it passes.
            self._load(batch, groups.pop(0))
        for _ in self._pool.map(lambda group: self._load(batch, group), groups):
            pass
        self._judge_share(batch)
        return [batch.verdicts[place] for place in range(len(entries))]

    def check(self) -> str | None:
        """Whether the sink would take points of every tier now; None if so, else why not."""
        return self._poster.check()

    def close(self) -> None:
        """No more posts, then no more connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._sink.close()

    # -- planning -------------------------------------------------------------------------

    def _plan(self, batch: Batch) -> list[Group]:
        """The posts to make; entries that need none get their verdict here."""
        suspects = self._poster.suspects
        groups = Groups(max_samples=self._group_samples, max_bytes=self._settings.group_bytes)
        for place, entry in enumerate(batch.entries):
            tier = self._tiers.get(entry.tier)
            if tier is None:
                reason = f"no bucket is configured for tier {entry.tier!r}"
                batch.verdicts[place] = Retry(self._settings.backoff_max_seconds, reason)
                continue
            try:
                wire.check_shape(entry.payload, entry.samples)
                lines = self._findings.get(known_as(entry)) or self._too_old(
                    entry, tier.retention_seconds
                )
            except WireError as error:
                batch.verdicts[place] = _corrupt(entry, error)
                continue
            if lines is None and not suspects.failures(entry.id):
                groups.add(tier.bucket, place, entry)
            else:
                suspect = suspects.is_suspect(entry.id)
                groups.alone(tier.bucket, place, entry, lines, suspect=suspect)
        return groups.all

    def _too_old(self, entry: Entry, retention_seconds: float | None) -> Lines | None:
        """The entry's lines, those marked that the tier does not keep; None if it looks young.

        Every series of a window spans the same time, so an entry whose first line is young enough
        holds at most a few old ones; those the sink will name.
        """
        if retention_seconds is None:
            return None
        keep_from_ms = int((self._wall_clock() - retention_seconds) * 1000)
        first_ms = wire.first_timestamp_ms(entry.payload)
        if first_ms is None or first_ms >= keep_from_ms:
            return None
        lines = Lines(wire.decode(entry.payload, entry.samples))
        for index, line in enumerate(lines.text):
            stamp_ms = wire.timestamp_ms(line)
            if stamp_ms is not None and stamp_ms < keep_from_ms:
                lines.fate[index] = Refusal.EXPIRED
        return lines

    # -- loading --------------------------------------------------------------------------

    def _load(self, batch: Batch, group: Group) -> None:
        """Verdicts for the entries of a group."""
        entries = [batch.entries[place] for place in group.places]
        request = WriteRequest(
            group.bucket, [entry.id for entry in entries], batch.deadline_seconds, group.suspect
        )
        try:
            outcome = None
            if not group.found and not group.suspect:
                outcome = self._poster.post(request, b"".join(entry.payload for entry in entries))
            if outcome is not None and outcome.kind is Kind.WRITTEN:
                for place, entry in zip(group.places, entries, strict=True):
                    self._settle(batch, place, Settle(loaded=entry.samples))
            else:
                self._isolate(batch, group, request, outcome)
        except Interrupted as interrupted:
            for place in group.places:
                batch.verdicts.setdefault(place, interrupted.verdict)

    def _settle(self, batch: Batch, place: int, verdict: Settle) -> None:
        entry = batch.entries[place]
        batch.verdicts[place] = verdict
        self._poster.suspects.forget(entry.id)
        self._findings.forget(known_as(entry))

    def _isolate(
        self, batch: Batch, group: Group, request: WriteRequest, outcome: Outcome | None
    ) -> None:
        """Trace an answer back to the entries, line by line."""
        self._report_begin(group, outcome)
        if outcome is not None and outcome.kind is Kind.TOO_LARGE:
            self._group_samples = max(1, min(self._group_samples, group.samples // 2))
        places = self._decode(batch, group)
        if len(places) < len(group.places):
            outcome = None  # it spoke of a body with broken parts, which are gone now
        elif outcome is not None and outcome.kind is Kind.UNREADABLE:
            reason = f"{described(outcome, group.bucket)} (though it inflates here)"
            raise Interrupted(
                self._poster.gate.hold(Kind.UNEXPECTED.value, reason, by_request=False)
            )
        lines = Lines.joined(group.found[place] for place in places)
        batch.add_bad(sum(lines.fate.count(fate) for fate in BAD))
        posts = 0

        def post(some: Sequence[bytes]) -> Outcome:
            nonlocal posts
            posts += 1
            answer = self._poster.post(request, wire.encode(some))
            if answer.kind is Kind.UNREADABLE:
                reason = f"{described(answer, group.bucket)} (though it was made here)"
                raise Interrupted(
                    self._poster.gate.hold(Kind.UNEXPECTED.value, reason, by_request=False)
                )
            return answer

        def give_up(answer: Outcome) -> Interrupted | None:
            return self._poster.give_up(request, answer)

        try:
            Isolation(
                lines,
                post,
                bad=lambda count: self._count_bad(batch, count),
                give_up=give_up if group.suspect else None,
            ).run(outcome)
        finally:
            parts = lines.split(len(group.found[place].text) for place in places)
            for place, found in zip(places, parts, strict=True):
                self._conclude(batch, place, found)
            self._report_end(group, lines, posts)

    def _decode(self, batch: Batch, group: Group) -> list[int]:
        """Inflate the entries; the places of those that could be, the others are dead letters."""
        for place in group.places:
            entry = batch.entries[place]
            if place not in group.found:
                try:
                    group.found[place] = Lines(wire.decode(entry.payload, entry.samples))
                except WireError as error:
                    self._settle(batch, place, _corrupt(entry, error))
        return [place for place in group.places if place in group.found]

    def _conclude(self, batch: Batch, place: int, lines: Lines) -> None:
        """Settle an entry whose every line has its fate; remember what is known of another."""
        entry = batch.entries[place]
        if self._young_are_refused(entry, lines):
            reason = "the sink refuses points as too old that are not: its clock must be wrong"
            batch.verdicts[place] = self._poster.gate.hold(SINK_CLOCK, reason, by_request=False)
            self._findings.forget(known_as(entry))
            return
        if Refusal.OPEN in lines.fate:
            self._findings.put(known_as(entry), lines)
            return
        expired = lines.fate.count(Refusal.EXPIRED)
        self._settle(
            batch,
            place,
            Settle(
                loaded=lines.fate.count(Refusal.WRITTEN),
                drops={BEYOND_RETENTION: expired} if expired else {},
                dead=letters(lines),
            ),
        )

    def _young_are_refused(self, entry: Entry, lines: Lines) -> bool:
        """Whether lines count as beyond retention that no retention can be meant for."""
        kept_seconds = self._tiers[entry.tier].retention_seconds or YOUNG_SECONDS
        young_from_ms = int((self._wall_clock() - min(kept_seconds, YOUNG_SECONDS)) * 1000)
        return any(
            fate == Refusal.EXPIRED and (wire.timestamp_ms(line) or 0) > young_from_ms
            for fate, line in zip(lines.fate, lines.text, strict=True)
        )

    def _report_begin(self, group: Group, outcome: Outcome | None) -> None:
        if group.suspect:
            self._telemetry.emit(
                "sink_suspect_isolated", bucket=group.bucket, samples=group.samples
            )
        elif outcome is not None:
            self._telemetry.emit(
                "sink_refused_points",
                bucket=group.bucket,
                response=outcome.kind.value,
                words=outcome.words[:500],
                entries=len(group.places),
                samples=group.samples,
            )

    def _report_end(self, group: Group, lines: Lines, posts: int) -> None:
        self._telemetry.emit(
            "sink_points_isolated",
            bucket=group.bucket,
            posts=posts,
            **{fate.name.lower(): lines.fate.count(fate) for fate in Refusal},
        )

    # -- the share of rejected samples ----------------------------------------------------

    def _count_bad(self, batch: Batch, lines: int) -> None:
        """More lines are bad; raises :class:`Interrupted` as soon as they are too many."""
        batch.add_bad(lines)
        if self._too_many(batch):
            raise Interrupted(self._hold_for_share())

    def _too_many(self, batch: Batch) -> bool:
        return self._share.exceeded_by(batch.samples, batch.bad, alone=batch.probing)

    def _hold_for_share(self) -> Pause:
        reason = (
            f"the sink rejects more than {self._share.max_share:.0%} of the samples: "
            "held instead of dead-lettered"
        )
        return self._poster.gate.hold(REJECTED_SHARE, reason, by_request=False)

    def _judge_share(self, batch: Batch) -> None:
        """Pause what would be dead-lettered if that is too much; else count it."""
        verdicts = batch.verdicts
        if self._too_many(batch):
            hold = self._hold_for_share()
            for place, verdict in verdicts.items():
                if isinstance(verdict, Settle) and _rejected(verdict):
                    verdicts[place] = hold
            for entry in batch.entries:
                # Judged anew by the probe, because the sink may have been repaired.
                self._findings.forget(known_as(entry))
        settled = [verdict for verdict in verdicts.values() if isinstance(verdict, Settle)]
        if not settled:
            return
        held = any(isinstance(verdict, Pause) for verdict in verdicts.values())
        if batch.probing and not held and any(verdict.loaded for verdict in settled):
            self._share.forget()
            self._poster.gate.passed()
        self._share.add(
            sum(verdict.samples for verdict in settled),
            sum(_rejected(verdict) for verdict in settled),
        )
        self._telemetry.set("etl_sink_rejected_share", self._share.value)


def _rejected(verdict: Settle) -> int:
    """Samples that the sink rejected, corrupt payloads not among them."""
    return sum(letter.samples for letter in verdict.dead if letter.reason != CORRUPT)


def _corrupt(entry: Entry, error: WireError) -> Settle:
    return Settle(dead=(DeadLetter(CORRUPT, str(error), entry.payload, entry.samples),))
