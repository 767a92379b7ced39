"""Promises of proxyapp.logs.sinks."""

from __future__ import annotations

import os
import syslog

import pytest

from proxyapp.logs.sinks import DescriptorSink, SyslogSink, is_journal


def stream_of(descriptor: int) -> str:
    """Return what $JOURNAL_STREAM is if the journal gave us *descriptor*."""
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}"


def test_which_descriptor_is_the_journal_s() -> None:
    """Only the very stream that systemd names, not another one, and not one that is closed."""
    reader, writer = os.pipe()
    other, more = os.pipe()
    stream = stream_of(writer)
    assert is_journal(writer, stream)
    assert not is_journal(more, stream)
    for wrong in ("", ":", "x", stream + " ", stream.replace(":", "")):
        assert not is_journal(writer, wrong)
    for descriptor in (reader, writer, other, more):
        os.close(descriptor)
    assert not is_journal(writer, stream)


def test_a_pipe_takes_what_fits() -> None:
    """What a pipe has no room for isn't waited for, and what is only a name isn't opened again."""
    reader, writer = os.pipe()
    sink = DescriptorSink("pipe", writer)
    sent = sink.send(memoryview(b"x" * 1_000_000), 0)
    assert 0 < sent < 1_000_000
    assert sink.send(memoryview(b"x"), 1) == 0
    assert sink.current() is sink.reopened() is sink
    sink.close()
    os.close(reader)


def test_what_has_a_name_is_opened_again() -> None:
    """A sink that knows how returns what has its name now."""
    reader, writer = os.pipe()
    other = DescriptorSink("pipe", os.dup(writer))
    sink = DescriptorSink("pipe", writer, lambda: other)
    assert sink.reopened() is other
    assert sink.current() is sink
    for each in (sink, other):
        each.close()
    os.close(reader)


def test_syslog_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file behind syslog that could be another one by now."""
    said: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: said.append(line))
    sink = SyslogSink()
    assert sink.send(memoryview(b"one\ntwo\n"), 0) == 8
    assert sink.current() is sink.reopened() is sink
    assert said == ["one", "two"]
    sink.close()
