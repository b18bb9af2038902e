"""Lines of entries: joined, split, and made into dead letters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.loader import payload as wire
from services.loader.lines import MAX_CAUSES, Lines, LineStatus, dead_letters


@given(st.lists(st.lists(st.sampled_from([0, 1, 3]), max_size=6), max_size=5))
def test_lines_of_several_entries_are_joined_and_split_again(statuses: list[list[int]]) -> None:
    parts = [
        Lines(
            [b"%d.%d" % (p, i) for i in range(len(status))],
            bytearray(status),
            {i: f"{p}.{i}" for i, f in enumerate(status) if f == LineStatus.REJECTED},
        )
        for p, status in enumerate(statuses)
    ]
    whole = Lines.joined(parts)
    assert whole.text == [line for part in parts for line in part.text]
    again = whole.split(len(part.text) for part in parts)
    assert [(p.text, p.status, p.messages) for p in again] == [
        (p.text, p.status, p.messages) for p in parts
    ]


# -- dead letters ------------------------------------------------------------------------------


def test_lines_refused_for_one_cause_share_a_dead_letter() -> None:
    found = Lines([b"a 1", b"b 2", b"c 3", b"d 4", b"e 5", b"f 6"])
    for index, status, message in (
        (0, LineStatus.REJECTED, "unable to parse 'a 1': missing fields"),
        (1, LineStatus.REJECTED, "partial write: conflict on m dropped=17"),
        (2, LineStatus.REJECTED, "unable to parse 'c 3': missing fields"),
        (3, LineStatus.TOO_LARGE, "too large"),
        (4, LineStatus.REJECTED, "partial write: conflict on m dropped=1"),
        (5, LineStatus.FAILED, "boom"),
    ):
        found.status[index] = status
        found.messages[index] = message
    made = [(one.reason, one.detail, one.payload, one.samples) for one in dead_letters(found)]
    assert made == [
        ("rejected", "unable to parse '…': missing fields", b"a 1\nc 3\n", 2),
        ("rejected", "partial write: conflict on m", b"b 2\ne 5\n", 2),
        ("too_large", "too large", b"d 4\n", 1),
        ("sink_failure", "boom", b"f 6\n", 1),
    ]


def test_what_is_long_is_compressed_as_an_entry_is() -> None:
    text = [b"requests_total,instance=host-%d value=%d %d" % (i % 9, i, i) for i in range(20_000)]
    found = Lines(text, bytearray([LineStatus.REJECTED] * len(text)))
    found.messages = dict.fromkeys(range(len(text)), "conflict")
    (letter,) = dead_letters(found)
    assert letter.samples == len(text)
    assert len(letter.payload) < sum(map(len, text)) / 3
    assert wire.decode(letter.payload, letter.samples) == text


def test_a_line_refused_alone_has_its_message_whole() -> None:
    found = Lines(
        [b"a 1"], bytearray([LineStatus.REJECTED]), {0: "unable to parse 'a 1': no dropped=0"}
    )
    assert [one.detail for one in dead_letters(found)] == ["unable to parse 'a 1': no dropped=0"]


def test_a_thousand_causes_do_not_make_a_thousand_dead_letters() -> None:
    count = 1000
    found = Lines(
        [b"%d" % i for i in range(count)],
        bytearray([LineStatus.REJECTED] * count),
        {i: f"cause {i} " + "x" * 5000 for i in range(count)},
    )
    made = dead_letters(found)
    assert len(made) == MAX_CAUSES
    assert sum(one.samples for one in made) == count
    assert b"".join(one.payload for one in made) == wire.text(found.text)
    assert max(len(one.detail) for one in made) == 2000
