"""Secret files: who may read them, and what they may hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.secret_files import MAX_SECRET_BYTES, check_secret_mode, read_secret, unlike_elsewhere


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("open sesame\n", encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440, 0o660, 0o000, 0o601])
def test_owner_and_group_may_read_a_secret(file: Path, mode: int) -> None:
    file.chmod(mode)
    check_secret_mode(file)


@pytest.mark.parametrize(
    ("mode", "verb"), [(0o644, "read"), (0o604, "read"), (0o666, "read"), (0o602, "change")]
)
def test_a_secret_that_is_open_to_every_user_is_refused(file: Path, mode: int, verb: str) -> None:
    file.chmod(mode)
    with pytest.raises(ValueError, match=f"which every user can {verb}") as caught:
        check_secret_mode(str(file))
    assert str(caught.value) == (
        f"names {file}, which every user can {verb} (mode {mode:04o}): make it 0600"
    )


def test_a_link_is_judged_by_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    check_secret_mode(link)
    file.chmod(0o644)
    with pytest.raises(ValueError, match="every user"):
        check_secret_mode(link)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for look in (check_secret_mode, read_secret):
        with pytest.raises(ValueError, match="No such file or directory") as caught:
            look(tmp_path / "none")
        assert str(tmp_path / "none") in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        check_secret_mode("a\0b")


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"open sesame\n", "open sesame"),
        (b"x\r\n", "x"),
        (b"x\n\r\n\n", "x"),
        (b"\xef\xbb\xbfx\r\n", "x"),
        (b'say "x"\n', 'say "x"'),
        (b"'x\"", "'x\""),
        ("käse".encode(), "käse"),
        (b" a ", " a "),
    ],
)
def test_line_breaks_at_the_end_and_a_byte_order_mark_are_no_part_of_a_secret(
    file: Path, content: bytes, secret: str
) -> None:
    file.write_bytes(content)
    assert read_secret(file) == secret


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b'"x"\n', "begins and ends with quotes: write the secret without them"),
        (b"\xef\xbb\xbf'x'\r\n", "begins and ends with quotes"),
        (b"'", "begins and ends with quotes"),
        (b"a\nb\n", "holds line breaks"),
        (b"a\tb", "control characters"),
        (b"\xff", "is not UTF-8 text"),
        (b"x" * (MAX_SECRET_BYTES + 1), "is larger than"),
    ],
)
def test_what_can_be_no_secret_is_refused_without_showing_it(
    file: Path, content: bytes, why: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ValueError, match=why) as caught:
        read_secret(file)
    assert str(caught.value).startswith(f"names {file}, which ")
    assert len(str(caught.value)) < 200 + len(os.fspath(file))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"x", []),
        (b"x\n\n", []),
        (b"x y\n", []),
        (b"\xef\xbb\xbfx\n", ["begins with a byte order mark"]),
        (b"x\r\n", ["ends with a carriage return (CRLF)"]),
        (b"x\r", ["ends with a carriage return (CRLF)"]),
        (b" x\n", ["begins or ends with blanks"]),
        (
            b"\xef\xbb\xbfx \r\n",
            ["begins with a byte order mark", "ends with a carriage", "begins or ends with blanks"],
        ),
    ],
)
def test_what_other_programs_would_read_otherwise_is_told(content: bytes, told: list[str]) -> None:
    found = list(unlike_elsewhere(content))
    assert len(found) == len(told)
    assert all(text.startswith(start) for text, start in zip(found, told, strict=True))
