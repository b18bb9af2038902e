"""The load handler: entries of points to the sink, its responses to verdicts.

Entries with the same bucket are posted together, their gzip members joined into one. Each is
settled by itself: when the sink refuses something, its response to the group is traced back line by
line. Whatever cannot be decided now is released with nothing settled, and the lines that were
written meanwhile are written again, which changes nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from common.config.load import LoadSettings
from common.errors import WireError
from common.runtime.telemetry import Telemetry
from common.samples.gzip_join import join
from common.state.verdict import DeadLetter, Entry, Pause, Retry, Settle, Verdict
from services.loader import payload
from services.loader.admission import Admission, NotNow, Proof
from services.loader.batch import Batch, Destinations, Group, Groups, GroupSamples
from services.loader.buckets.by_bucket import handle_by_bucket
from services.loader.entry_history import IsolationCache, Judged, Suspects
from services.loader.influx import InfluxSink
from services.loader.isolate import Isolation
from services.loader.lines import (
    BEYOND_RETENTION,
    CORRUPT,
    Lines,
    LineStatus,
    dead_letters,
    lines_of_foreign,
)
from services.loader.loaded import digest_of_entry, digest_of_written
from services.loader.one_line import OneLine
from services.loader.pace import Pace
from services.loader.poster import Poster
from services.loader.read_check import check_line
from services.loader.refused_before import RefusedBefore
from services.loader.rejected_share import REJECTED_SHARE, RejectedShare, rejected_samples
from services.loader.responses import Kind, Outcome, describe
from services.loader.retention_cache import UnknownRetention
from services.loader.search_budget import SearchBudget
from services.loader.too_old import TooOld
from services.loader.total_refusal import REFUSALS, TotalRefusal

SINK_CLOCK = "sink_clock"
SINK_URL = "sink_url"

# A search that takes longer goes on with the next delivery; far below what a stage lets pass.
BUDGET_SECONDS = 240.0

_MESSAGE_MAX_CHARS = 500  # in the log


@dataclass
class LoadHandler:
    """:class:`common.state.verdict.Handler` of the loader.

    ``stopping`` says that the service is to stop: nothing more is posted. ``tick`` is called after
    each post, so that a long search is seen to be alive. ``still_ours`` is asked before each post
    whether the entries with these ids are still leased to us; if not, nothing is posted for them.
    ``set_ready`` gets remarks on the sink. ``pipeline`` is the tag of a point of our own.
    """

    stage = "loader"

    settings: LoadSettings
    sink: InfluxSink
    telemetry: Telemetry
    stopping: Callable[[], bool] = lambda: False
    tick: Callable[[], None] = lambda: None
    still_ours: Callable[[Sequence[str]], bool] = lambda _: True
    set_ready: Callable[[str, bool, str], None] = lambda _name, _ok, _detail: None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
    wait: Callable[[float], object] = time.sleep
    pipeline: str = "etl"

    def __post_init__(self) -> None:
        settings, telemetry = self.settings, self.telemetry
        self._group_samples = GroupSamples(settings.group_samples, self.clock)
        self.isolation_cache = IsolationCache(self.clock)
        self.suspects = Suspects()
        self._judged = Judged()
        addresses = self.sink.addresses
        addresses.changed = self._url_changed
        self._destinations = Destinations(settings, self.set_ready, self.clock)
        others = self._destinations.others
        self._admission = Admission(settings, telemetry, self.clock, self.rng, addresses, others)
        self._refused_before = RefusedBefore(telemetry, self.clock)
        self._share = RejectedShare(settings, self._admission, telemetry)
        self._total_refusal = TotalRefusal(settings, self._admission, self._own_line)
        self._search_budget = SearchBudget(settings, self.clock)
        self._poster = Poster(
            self.sink,
            self._admission,
            self.suspects,
            self._total_refusal,
            telemetry,
            self.stopping,
            self.tick,
            self.still_ours,
            self.clock,
            Pace(settings.influxdb.rate_limit_bytes_per_second, self.clock, self.wait),
        )
        self._one_line = OneLine(self._poster, self._admission, self.rng)
        tiers = {str(name): tier for name, tier in settings.tiers.items()}
        unknown_retention = UnknownRetention(tiers, telemetry, self.set_ready)
        self._too_old = TooOld(tiers, self.sink, unknown_retention, self.wall_clock)
        self._pool = ThreadPoolExecutor(settings.connections, thread_name_prefix="post")

    def check(self) -> str | None:
        """Whether the sink would take points of every tier now; None if so, else why not."""
        why_not = self._admission.check(self.sink.probe)
        if why_not is None:
            self._destinations.look(self.sink.probe)
        return why_not

    def close(self) -> None:
        """No more posts, then no more connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.sink.close()

    def _url_changed(self, url: str) -> None:
        first = self.sink.addresses.urls[0]
        self.telemetry.emit("sink_url_changed", url=url, first=first)
        remark = "" if url == first else f"{first} does not serve us: {url} is used"
        self.set_ready(SINK_URL, True, remark)

    def handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        """One verdict for each entry, in order; see docs/sink-responses.md."""
        return handle_by_bucket(entries, self._destinations.parts, self._handle)

    def _handle(self, entries: Sequence[Entry]) -> list[Verdict]:
        probing = self._admission.paused_by == REJECTED_SHARE
        repeated = () if probing else self._judged.among(entry.id for entry in entries)
        batch = Batch(entries, probing=probing, repeated=repeated)
        self._destinations.route(batch)
        deadline_seconds = self.clock() + BUDGET_SECONDS
        if self._total_refusal.paused and not self._one_line.passes(batch, deadline_seconds):
            return [batch.verdicts[entry.id] for entry in entries]
        groups = self._plan(batch)
        if groups and (self._admission.in_doubt or len(groups) == 1):
            # While the sink is in doubt, one post finds out and the others follow if it passes.
            self._load(batch, groups.pop(0))
        for _ in self._pool.map(lambda group: self._load(batch, group), groups):
            pass
        if (pause := self._share.pause_for(batch)) is not None:
            self._take_back(batch, pause)
        elif self._total_refusal.paused:
            self._take_back(batch, self._admission.paused_because)
        self._share.add(batch)
        for id_, verdict in batch.verdicts.items():
            if isinstance(verdict, Settle) and verdict.dead:
                self._judged.add(id_)
        return [batch.verdicts[entry.id] for entry in entries]

    def _plan(self, batch: Batch) -> list[Group]:
        """The posts to make; entries that need none get their verdict here."""
        groups = Groups(
            max_samples=self._group_samples.now,
            max_bytes=self.settings.group_bytes,
            deadline_seconds=self.clock() + BUDGET_SECONDS,
        )
        for entry, bucket in batch.open:
            try:
                payload.check_shape(entry.payload, entry.samples)
                lines = (
                    self.isolation_cache.get(entry)
                    or self._too_old.mark(entry, bucket)
                    or lines_of_foreign(entry)
                )
                if not batch.probing:
                    lines = self._refused_before.mark(entry, bucket, lines)
            except WireError as error:
                batch.verdicts[entry.id] = _corrupt(entry, error)
                continue
            # What failed goes alone: others must not fail with it.
            failed = bool(self.suspects.failures(entry.id))
            if lines is None and not failed and entry.id not in batch.repeated:
                groups.add(bucket, entry)
            else:
                suspect = self.suspects.is_suspect(entry.id)
                known = None if lines is None else replace(lines, text=[])
                groups.alone(bucket, entry, known, suspect=suspect)
        return groups.all

    def _load(self, batch: Batch, group: Group) -> None:
        """Verdicts for the entries of a group."""
        if group.known or group.suspect:
            not_now = self._isolate(batch, group, None)
        else:
            match self._poster.post(group, join(one.payload for one in group.entries)):
                case Outcome(kind=Kind.WRITTEN):
                    for entry in group.entries:
                        self._refused_before.all_taken(entry, group.bucket)
                        loaded = Settle(loaded=entry.samples, digest=digest_of_entry(entry))
                        self._settle(batch, entry, loaded)
                    return
                case Outcome() as outcome:
                    not_now = self._isolate(batch, group, outcome)
                case refused:
                    not_now = refused
        group.known.clear()  # the text of all groups at a time would be too much
        if not_now is not None:
            for entry in group.entries:
                batch.verdicts.setdefault(entry.id, not_now)

    def _settle(self, batch: Batch, entry: Entry, verdict: Settle) -> None:
        batch.verdicts[entry.id] = verdict
        self.suspects.forget(entry.id)
        self.isolation_cache.forget(entry)

    def _take_back(self, batch: Batch, pause: Pause) -> None:
        """Pause what would become dead letters; the probe judges it anew."""
        self._refused_before.clear()
        for entry in batch.entries:
            verdict = batch.verdicts[entry.id]
            if isinstance(verdict, Settle) and rejected_samples(verdict):
                batch.verdicts[entry.id] = pause
            self.isolation_cache.forget(entry)

    # -- what is refused ------------------------------------------------------------------

    def _isolate(self, batch: Batch, group: Group, outcome: Outcome | None) -> NotNow | None:
        """Trace a response back to the entries, line by line; a verdict for what is left open."""
        self._report_begin(group, outcome)
        sound = self._decode(batch, group)
        if len(sound) < len(group.entries):
            outcome = None  # it spoke of a body with broken parts, which are settled now
        elif outcome is not None and outcome.kind is Kind.UNREADABLE:
            return self._unreadable(outcome, group.bucket, "though it inflates here")
        lines = Lines.joined(group.known[entry.id] for entry in sound)
        batch.add_bad(lines.bad, group.ids)

        posts = 0  # `search` counts them, too, and would not be freed if `post` had it

        def post(some: Sequence[bytes]) -> Outcome | NotNow:
            nonlocal posts
            wait = self._search_budget.take(posts, len(sound), probing=batch.probing)
            posts += 1
            if not some:  # at the bound too: without it what was posted says nothing
                return self._post_control(group)
            if wait is not None:
                batch.interrupted = True
                return wait
            result = self._poster.post(group, payload.encode(some))
            if isinstance(result, Outcome) and result.kind is Kind.UNREADABLE:
                return self._unreadable(result, group.bucket, "though it was made here")
            return result

        def give_up() -> NotNow | None:
            (id_,) = group.ids
            self.suspects.failed([id_])  # once, however many of the posts failed
            hopeless = self.suspects.is_hopeless(id_)
            return None if hopeless else self._admission.back_off(self.suspects.failures(id_))

        def add_bad(count: int) -> NotNow | None:
            batch.add_bad(count, group.ids)
            return self._share.pause_for(batch)

        search = Isolation(
            lines,
            post,
            bad=add_bad,
            give_up=give_up if group.suspect else None,
            evidence=self._total_refusal if self._total_refusal.may_pause else None,
        )
        not_now = search.run(outcome)
        refused = None if outcome is None else outcome.kind
        too_large = refused is Kind.TOO_LARGE and not_now is None
        if too_large and LineStatus.TOO_LARGE not in lines.status:
            self._group_samples.too_large(group.samples)
        parts = lines.split(len(group.known[entry.id].text) for entry in sound)
        for entry, found in zip(sound, parts, strict=True):
            self._conclude(batch, entry, found)
        if outcome is not None or group.suspect or posts > 1:
            self._report_end(group, lines, posts)
        return not_now

    def _post_control(self, group: Group) -> Outcome | NotNow:
        """Post what the sink takes unless it refuses everything."""
        control = self._total_refusal.control()
        if control is None:
            return self._total_refusal.pause()
        bucket, body = control
        of_control = replace(group, bucket=bucket, suspect=False)
        result = self._poster.post(of_control, body, is_control=True)
        refused = isinstance(result, Outcome) and result.kind in REFUSALS
        return self._total_refusal.pause() if refused else result

    def _own_line(self) -> bytes:
        return check_line(self.pipeline, self.wall_clock())

    def _unreadable(self, outcome: Outcome, bucket: str, remark: str) -> Pause:
        reason = f"{describe(outcome, bucket)} ({remark})"
        return self._admission.pause(Kind.UNEXPECTED.value, reason, Proof.POINTS)

    def _decode(self, batch: Batch, group: Group) -> list[Entry]:
        """Inflate the entries; those that could be, the others are dead letters."""
        sound = []
        for entry in group.entries:
            try:
                text = payload.decode(entry.payload, entry.samples)
            except WireError as error:
                self._settle(batch, entry, _corrupt(entry, error))
                continue
            known = group.known.get(entry.id)
            group.known[entry.id] = Lines(text) if known is None else replace(known, text=text)
            sound.append(entry)
        return sound

    def _conclude(self, batch: Batch, entry: Entry, lines: Lines) -> None:
        """Settle an entry whose every line is decided; remember what is known of another."""
        if self._too_old.refused_in_error(entry, lines):
            reason = "the sink refuses points as too old that are not: its clock must be wrong"
            batch.verdicts[entry.id] = self._admission.pause(SINK_CLOCK, reason, Proof.POINTS)
            self.isolation_cache.forget(entry)
            return
        if LineStatus.OPEN in lines.status:
            self.isolation_cache.put(entry, lines)
            return
        if LineStatus.LIMITED in lines.status and self._limited(batch, entry, lines):
            return
        expired = lines.unexplained(LineStatus.EXPIRED)
        verdict = Settle(
            loaded=lines.status.count(LineStatus.WRITTEN),
            drops={BEYOND_RETENTION: expired} if expired else {},
            dead=dead_letters(lines),
            digest=digest_of_written(entry, lines),
        )
        self._refused_before.learn(entry, batch.buckets[entry.id], lines)
        self._settle(batch, entry, verdict)

    def _limited(self, batch: Batch, entry: Entry, lines: Lines) -> bool:
        """Report the lines over a limit; whether the entry waits for them."""
        held = self.settings.on_limit == "hold"
        first = lines.status.index(LineStatus.LIMITED)
        message = lines.messages[first]
        self.telemetry.emit(
            "sink_limit_reached",
            lines.status.count(LineStatus.LIMITED),
            query=entry.query,
            bucket=batch.buckets[entry.id],
            lines=lines.status.count(LineStatus.LIMITED),
            message=message[:_MESSAGE_MAX_CHARS],
            held=held,
        )
        if held:
            lines.reopen(LineStatus.LIMITED)
            self.isolation_cache.put(entry, lines)
            reason = f"a limit of the sink is reached: {message}"
            batch.verdicts[entry.id] = Retry(self.settings.backoff_max_seconds, reason)
        return held

    def _report_begin(self, group: Group, outcome: Outcome | None) -> None:
        if group.suspect:
            self.telemetry.emit("sink_suspect_isolated", bucket=group.bucket, samples=group.samples)
        elif outcome is not None:
            self.telemetry.emit(
                "sink_refused_points",
                bucket=group.bucket,
                response=outcome.kind.value,
                message=outcome.message[:_MESSAGE_MAX_CHARS],
                entries=len(group.entries),
                samples=group.samples,
            )

    def _report_end(self, group: Group, lines: Lines, posts: int) -> None:
        self.telemetry.emit(
            "sink_points_isolated",
            bucket=group.bucket,
            posts=posts,
            **{status.name.lower(): lines.status.count(status) for status in LineStatus},
        )


def _corrupt(entry: Entry, error: WireError) -> Settle:
    return Settle(dead=(DeadLetter(CORRUPT, str(error), entry.payload, entry.samples),))
