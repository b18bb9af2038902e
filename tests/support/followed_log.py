"""A log file that a test writes, rotates and follows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from services.exporter.follower import Follower

BACKUPS = 5


class FollowedLog:
    """A log in a folder of its own, its writer, and what a follower has got of it."""

    def __init__(self, folder: Path, *, max_line_bytes: int = 1000, chunk_bytes: int = 16) -> None:
        self.path = folder / "etl.jsonl"
        self.got: list[bytes] = []
        self.follower = self.follow(max_line_bytes, chunk_bytes)
        self.written: list[bytes] = []
        self.unfinished = b""

    def follow(self, max_line_bytes: int = 1000, chunk_bytes: int = 16) -> Follower:
        return Follower(
            self.path, self.take, max_line_bytes=max_line_bytes, chunk_bytes=chunk_bytes
        )

    def take(self, line: bytes) -> str | None:
        if b"bad" in line or line.startswith(b"half"):
            return "not_json"
        self.got.append(line)
        return None

    def append(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(content)

    def say(self, *words: str) -> None:
        self.append(b"".join(word.encode() + b"\n" for word in words))

    def poll(self) -> list[str]:
        """What is new."""
        before = len(self.got)
        self.follower.poll()
        return [line.decode() for line in self.got[before:]]

    def shift(self) -> Path:
        """Make room for a backup; where it goes."""
        for number in range(BACKUPS, 0, -1):
            old = self.path.with_name(f"etl.jsonl.{number}")
            if old.exists():
                old.rename(self.path.with_name(f"etl.jsonl.{number + 1}"))
        self.path.with_name(f"etl.jsonl.{BACKUPS + 1}").unlink(missing_ok=True)
        return self.path.with_name("etl.jsonl.1")

    def rename(self) -> None:
        self.path.rename(self.shift())
        self.path.touch()

    def copy_and_truncate(self) -> None:
        shutil.copyfile(self.path, self.shift())
        os.truncate(self.path, 0)

    # -- for the property: lines that are written piece by piece --

    def write_piece(self, size: int) -> None:
        if not self.unfinished:
            line = b"%d:" % len(self.written) + b"x" * (len(self.written) * 7 % 40)
            self.written.append(line)
            self.unfinished = line + b"\n"
        self.append(self.unfinished[:size])
        self.unfinished = self.unfinished[size:]

    def finish_line(self) -> None:
        if self.unfinished:
            self.write_piece(len(self.unfinished))
