"""A request of remote write, from its bytes to the samples that are committed of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import accumulate, chain

import numpy as np
from redis.exceptions import RedisError

from common.errors import SourceError
from common.runtime.http_server import Request, Response, error_response
from common.samples.batch import Origin, SampleBatch
from common.samples.columns import Samples
from common.state.pushes import Pushed
from common.state.verdict import PUSHED
from services.extractor.extract import NATIVE_HISTOGRAM
from services.extractor.push.bad_request import BadRequest
from services.extractor.push.native_histogram import STALE_BITS, Carrying
from services.extractor.push.request_v2 import parse_v2
from services.extractor.push.selecting import Selected, Selecting
from services.extractor.push.snappy import uncompress
from services.extractor.push.write_request import MOST_SAMPLES, WriteRequest
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan

MAX_BODY_BYTES = 4 << 20
MAX_UNPACKED_BYTES = 32 << 20
RETRY_AFTER_SECONDS = 5
# How long heads of feeds are taken for what they were.
HEADS_SECONDS = 1.0

_STALE = np.uint64(STALE_BITS)
_PROTOBUF = "application/x-protobuf"
_V1, _V2 = "prometheus.writerequest", "io.prometheus.write.v2.request"
_MESSAGES = (_V1, _V2)

STALE_MARKER = "stale_marker"


class NotNow(Exception):
    """The request is well and cannot be taken at present."""


class Full(NotNow):
    """There is no room for it at present."""


@dataclass
class Receiver:
    """Takes the samples that ``plans`` select; a request is served when the one before it is done.

    ``heads_ms``: up to where feeds are planned. ``commit``: as
    :meth:`common.state.pushes.PushedSamples.commit`. ``external_labels``: what Prometheus adds to
    every series. ``refusal``: why nothing may be taken. ``paused``: whether extraction pauses.
    ``count``: is given what was committed, and all samples of the request by outcome. All but the
    last may raise ``RedisError``, ``external_labels`` source errors.
    """

    plans: Sequence[Plan]
    heads_ms: Callable[[Sequence[Plan]], Sequence[int | None]]
    commit: Callable[[Sequence[Pushed]], str]
    external_labels: Callable[[], Mapping[str, str]]
    refusal: Callable[[], str | None]
    paused: Callable[[], bool]
    count: Callable[[Sequence[Pushed], Mapping[str, int]], None]
    clock: Callable[[], float] = time.monotonic
    _selecting: Selecting = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _heads: Sequence[int | None] = field(default=(), init=False)
    _heads_at: float = field(default=float("-inf"), init=False)
    # Why the labels that Prometheus adds are not known; empty once they are.
    _why_unknown: str = field(default="it was not asked", init=False)

    def __post_init__(self) -> None:
        self._selecting = Selecting(self.plans)

    def page(self, request: Request) -> Response:
        """The response to a POST: 204 once its samples are committed."""
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        content_type = request.headers.get("Content-Type", _PROTOBUF)
        message = _message_of(content_type)
        if encoding != "snappy":
            why = f"Content-Encoding is {encoding or 'not given'!r:.40}: it must be snappy"
            return error_response(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        if message is None:
            why = f"Content-Type is {content_type!r:.80}: remote write 1.0 and 2.0 are taken"
            return error_response(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, why)
        samples = histograms = 0
        try:
            with self._lock:
                samples, histograms = self._take(message, request.body)
            response = Response(HTTPStatus.NO_CONTENT, b"")
        except BadRequest as error:
            response = error_response(HTTPStatus.BAD_REQUEST, str(error))
        except Full as error:
            retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            response = error_response(HTTPStatus.TOO_MANY_REQUESTS, str(error), **retry)
        except (NotNow, RedisError) as error:
            response = error_response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        if message == _V1:
            return response
        return replace(response, headers={**response.headers, **_written(samples, histograms)})

    def _take(self, message: str, body: bytes) -> tuple[int, int]:
        """How many samples the request has, and histograms that are not dropped, once all of them
        are done with.
        """
        if why_not := self.refusal():
            raise NotNow(why_not)
        if self.paused():
            raise Full("too many bytes are in flight: extraction pauses")
        unpacked = uncompress(body, MAX_UNPACKED_BYTES)
        if message == _V2:
            written = parse_v2(unpacked)
        else:
            written = WriteRequest.parse(unpacked, self._selecting.known)
        if self._why_unknown:
            raise NotNow(f"which labels Prometheus adds is not known yet: {self._why_unknown}")
        now = self.clock()
        if now - self._heads_at > HEADS_SECONDS:
            self._heads, self._heads_at = self.heads_ms(self.plans), now
        found = [self._selecting.find(label_set) for label_set in written.label_sets]
        outcomes: Counter[str] = Counter()
        pushed = list(self._of_feeds(written, found, outcomes))
        if pushed and (result := self.commit(pushed)) != "committed":
            self._heads_at = float("-inf")
            raise NotNow(f"nothing was committed ({result})")
        self.count(pushed, outcomes)
        histograms = len(written.histogram_messages) - outcomes[NATIVE_HISTOGRAM]
        return len(written.timestamps_ms), max(0, histograms)

    def learn_external_labels(self) -> bool:
        """Ask which labels Prometheus adds; whether they are known now, or were before.

        No request waits for the answer.
        """
        try:
            labels = self.external_labels()
        except SourceError as error:
            self._why_unknown = self._why_unknown and str(error)
        else:
            with self._lock:
                self._selecting.set_external(labels)
                self._why_unknown = ""
        return not self._why_unknown

    def _of_feeds(
        self, written: WriteRequest, found: Sequence[Selected], outcomes: Counter[str]
    ) -> Iterator[Pushed]:
        """What is to be committed of each feed; ``outcomes`` counts all samples of the request."""
        rows: dict[int, list[int]] = {}
        for row, selected in enumerate(found):
            for feed in selected.feeds:
                rows.setdefault(feed, []).append(row)
            if not selected.feeds:
                outcomes["unselected"] += written.counts[row] + written.histograms[row]
        if not rows:
            return
        samples = Samples(
            tuple(selected.series for selected in found),
            np.array(written.counts, np.int64),
            np.array(written.timestamps_ms, np.int64),
            np.frombuffer(bytes(written.values), "<f8").astype(np.float64, copy=False),
        )
        ends = list(accumulate(written.histograms)) if written.histogram_messages else []
        # Of histograms alone it may have more series than an entry may have without samples.
        has_samples = samples.counts > 0
        carrying = Carrying()
        for feed, of_feed in rows.items():
            chosen = np.zeros(len(found), np.bool_)
            chosen[of_feed] = True
            histograms = [
                (found[row].series, written.histogram_messages[ends[row] - number : ends[row]])
                for row in (of_feed if ends else ())
                if (number := written.histograms[row])
            ]
            chosen_samples = samples.of_series(chosen & has_samples)
            yield from self._of_feed(feed, chosen_samples, histograms, carrying, outcomes)

    def _of_feed(
        self,
        feed: int,
        samples: Samples,
        histograms: Sequence[tuple[bytes, Sequence[bytes]]],
        carrying: Carrying,
        outcomes: Counter[str],
    ) -> list[Pushed]:
        plan, head_ms = self.plans[feed], self._heads[feed]
        number = sum(len(messages) for _, messages in histograms)
        if head_ms is None:
            outcomes["unplanned"] += len(samples) + number
            return []
        dropped: Counter[str] = Counter()
        blocks: Iterable[Samples] = (samples,)
        if plan.query.carries_histograms:
            carried = (carrying.of_series(*of_series, head_ms) for of_series in histograms)
            blocks = chain(blocks, carried)
        else:
            dropped[NATIVE_HISTOGRAM] = number
        of = plan.feed
        kept = _kept(blocks, head_ms, outcomes, dropped)
        origin = Origin(of.query, of.kind, of.tier, PUSHED, head_ms, head_ms)
        pushed = []
        batches: Iterator[SampleBatch] = (
            SampleBatch(origin, block) for block in kept if len(block)
        )
        if histograms:
            # What is carried may be more than one entry should hold.
            batches = EntryBuilder(MOST_SAMPLES)(kept, origin)
        for batch in batches:
            times_ms = batch.samples.timestamps_ms
            first_ms, last_ms = int(times_ms.min()), int(times_ms.max())
            origin = replace(origin, start_ms=first_ms - 1, end_ms=last_ms)
            payload = SampleBatch(origin, batch.samples).encode()
            pushed.append(Pushed(of, payload, len(batch)))
        outcomes.update(dropped)
        if dropped := +dropped:
            first, *others = pushed or [Pushed(of)]
            pushed = [replace(first, dropped=dict(dropped)), *others]
        return pushed


def _kept(
    blocks: Iterable[Samples], head_ms: int, outcomes: Counter[str], dropped: Counter[str]
) -> Iterator[Samples]:
    """What is to be committed of each block; the rest is counted."""
    for block in blocks:
        fresh = block.after(head_ms)
        stale = fresh.values.view(np.uint64) == _STALE
        kept = fresh.where(~stale) if stale.any() else fresh
        dropped[STALE_MARKER] += int(np.count_nonzero(stale))
        dropped[NATIVE_HISTOGRAM] += len(fresh.histograms_ms)
        outcomes["late"] += len(block) - len(fresh)
        outcomes["late"] += len(block.histograms_ms) - len(fresh.histograms_ms)
        outcomes["committed"] += len(kept)
        yield kept


def _message_of(content_type: str) -> str | None:
    """Which of the messages that are taken it says that the body is; None: another."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    named = [one.removeprefix("proto=") for one in parameters if one.startswith("proto=")]
    message = named[0] if named else _V1
    return message if kind == _PROTOBUF and message in _MESSAGES else None


def _written(samples: int, histograms: int) -> dict[str, str]:
    """What 2.0 wants to be told: its sender takes for lost what is not counted here.

    A sample that is left to the pull, or that no query wants, is as well off as one that is
    committed; exemplars have no place.
    """
    counts = {"Samples": samples, "Histograms": histograms, "Exemplars": 0}
    return {f"X-Prometheus-Remote-Write-{what}-Written": str(n) for what, n in counts.items()}
