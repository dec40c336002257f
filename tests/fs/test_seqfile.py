# SPDX-License-Identifier: Apache-2.0
"""`SeqFile`: what `fs/seq_file.c` does for the kernel's virtual files, for iterators of Python."""

from __future__ import annotations

import asyncio
import errno
import inspect
import itertools
import os
import traceback
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.fs import SeqFile


def read(reader, offset, size):
    """One read, whichever way the reader answers."""
    answer = reader.read(offset, size)
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


async def _awaited(answer):
    return await answer if inspect.isawaitable(answer) else answer


def read_all(reader, size=4096):
    """What `cat` does."""
    text = b""
    while part := read(reader, len(text), size):
        text += part
    return text


async def read_all_async(reader, size=4096):
    text = b""
    while part := await _awaited(reader.read(len(text), size)):
        text += part
    return text


class Counted:
    """A source that counts its iterations and the records it gave."""

    def __init__(self, records):
        self.records = records
        self.begun = 0
        self.given = 0
        self.closed = 0

    def __call__(self):
        self.begun += 1
        try:
            for record in self.records:
                self.given += 1
                yield record
        finally:
            self.closed += 1


def as_async(records):
    async def produce():
        for record in records:
            yield record

    return produce


# ------------------------------------------------------------------------------------ what is printed


def test_each_record_is_printed_and_followed_by_a_newline():
    assert read_all(SeqFile(lambda: ["one", b"\xff", 3, None, 4.5, "\udcfe"]).open()) == (
        b"one\n\xff\n3\nNone\n4.5\n\xfe\n"
    )


def test_end_may_be_anything_or_nothing():
    assert read_all(SeqFile(range(3), end="").open()) == b"012"
    assert read_all(SeqFile(range(3), end=b"\0").open()) == b"0\x001\x002\0"


def test_header_comes_first_and_is_not_formatted():
    assert read_all(SeqFile(range(2), format="<{}>", header="{}").open()) == b"{}\n<0>\n<1>\n"


def test_header_comes_again_after_a_seek_back():
    reader = SeqFile(range(2), header="h").open()
    assert read_all(reader) == read_all(reader) == b"h\n0\n1\n"


def test_format_is_a_string_for_str_format():
    assert read_all(SeqFile([complex(1, 2)], format="{0.real:>5}|{0.imag}").open()) == b"  1.0|2.0\n"


def test_format_is_a_function():
    assert read_all(SeqFile(range(3), format=lambda n: bytes([65 + n])).open()) == b"A\nB\nC\n"


def test_a_record_whose_format_returns_none_is_left_out():
    assert read_all(SeqFile(range(5), format=lambda n: n if n % 2 else None).open()) == b"1\n3\n"


def test_empty_records_with_an_empty_end_do_not_look_like_the_end():
    assert read_all(SeqFile(["", "a", "", "", "b", ""], end="").open(), size=1) == b"ab"


def test_a_file_without_records_is_empty():
    assert read(SeqFile(list).open(), 0, 100) == b""


# ------------------------------------------------------------------------------------ where records come from


@pytest.mark.parametrize(
    "wrong", [iter([1]), (n for n in range(3)), 5, None, "text", b"text", as_async([1])()]
)
def test_what_cannot_be_iterated_anew_is_refused_when_the_file_is_made(wrong):
    with pytest.raises(TypeError, match="function that returns an iterable"):
        SeqFile(wrong)


def test_a_collection_is_read_as_it_is_when_the_reading_begins():
    lines = ["a"]
    file = SeqFile(lines)
    reader = file.open()
    lines.append("b")
    assert read_all(reader) == b"a\nb\n"


def test_each_open_has_its_own_iteration():
    source = Counted(range(10))
    file = SeqFile(source)
    one, two = file.open(), file.open()
    assert read(one, 0, 4) == b"0\n1\n"
    assert read(two, 0, 4) == b"0\n1\n"
    assert read(one, 4, 4) == b"2\n3\n"
    assert source.begun == 2


def test_nothing_is_called_before_the_first_read():
    source = Counted(range(3))
    SeqFile(source).open().close()
    assert source.begun == 0


def test_an_async_function_may_return_a_plain_collection():
    async def fetch():
        await asyncio.sleep(0)
        return ["a", "b"]

    async def run():
        reader = SeqFile(fetch).open()
        assert await read_all_async(reader) == b"a\nb\n"
        assert await reader.read(0, 2) == b"a\n"
        await reader.close()

    asyncio.run(run())


def test_an_async_function_may_return_an_async_iterable():
    async def fetch():
        return as_async(["a", "b"])()

    async def run():
        reader = SeqFile(fetch, header="h").open()
        assert await read_all_async(reader) == b"h\na\nb\n"
        await reader.close()

    asyncio.run(run())


# ------------------------------------------------------------------------------------ reads


def test_reads_that_go_on_do_not_begin_anew():
    source = Counted(range(1000))
    assert read_all(SeqFile(source).open(), size=7) == b"".join(b"%d\n" % n for n in range(1000))
    assert source.begun == 1
    assert source.given == 1000


def test_only_what_is_asked_for_is_produced():
    source = Counted(itertools.count())
    reader = SeqFile(source).open()
    assert read(reader, 0, 4) == b"0\n1\n"
    assert source.given == 2


def test_a_read_further_on_produces_and_drops_what_is_between():
    source = Counted(range(1000))
    reader = SeqFile(source).open()
    assert read(reader, 20, 6) == b"10\n11\n"
    assert source.begun == 1


def test_a_read_further_back_begins_anew():
    source = Counted(range(10))
    reader = SeqFile(source).open()
    assert read(reader, 10, 4) == b"5\n6\n"
    assert read(reader, 2, 4) == b"1\n2\n"
    assert source.begun == 2
    assert source.closed == 1


def test_a_record_larger_than_the_buffer_is_read_in_parts():
    big = bytes(range(256)) * 4096
    reader = SeqFile(lambda: [b"first", big, b"last"]).open()
    assert read_all(reader, size=1000) == b"first\n" + big + b"\nlast\n"


def test_the_end_is_the_end_until_a_seek_back():
    lines = ["a"]
    source = Counted(lines)
    reader = SeqFile(source).open()
    assert read_all(reader) == b"a\n"
    lines.append("b")
    assert read(reader, 2, 100) == b""
    assert read(reader, 500, 100) == b""
    assert read(reader, 0, 100) == b"a\nb\n"


def test_a_read_of_no_bytes_is_empty():
    assert read(SeqFile(range(3)).open(), 0, 0) == b""


def test_an_endless_iterator_serves_a_reader_that_stops():
    source = Counted(itertools.count())
    reader = SeqFile(source).open()
    assert read(reader, 0, 10) == b"0\n1\n2\n3\n4\n"
    reader.close()
    assert source.closed == 1


TEXTS = st.one_of(st.text(max_size=20), st.binary(max_size=40), st.integers())
READS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 120)), max_size=30)


@given(st.lists(TEXTS, max_size=20), st.sampled_from(["", "\n", "--"]), READS)
def test_any_reads_give_the_slices_of_the_whole_text(records, end, reads):
    whole = b"".join(
        (r if isinstance(r, bytes) else str(r).encode("utf-8", "surrogateescape")) + end.encode()
        for r in records
    )
    reader = SeqFile(lambda: iter(records), end=end).open()
    for offset, size in reads:
        assert reader.read(offset, size) == whole[offset : offset + size]


@given(st.lists(st.tuples(TEXTS, st.booleans()), max_size=20), READS)
def test_any_reads_of_an_async_iteration_give_a_beginning_of_the_slice(records, reads):
    """Short where the iterator waited, and empty only at the end."""
    whole = b"".join(
        (r if isinstance(r, bytes) else str(r).encode("utf-8", "surrogateescape")) + b"\n" for r, _ in records
    )

    async def produce():
        for record, wait in records:
            if wait:
                await asyncio.sleep(0)
            yield record

    async def run():
        reader = SeqFile(produce).open()
        for offset, size in reads:
            part = await _awaited(reader.read(offset, size))
            assert whole[offset : offset + size].startswith(part)
            assert bool(part) == bool(whole[offset : offset + size])
        await _awaited(reader.close())

    asyncio.run(run())


@given(st.lists(TEXTS, max_size=20), READS)
def test_an_async_iteration_that_never_waits_gives_whole_slices(records, reads):
    whole = b"".join(
        (r if isinstance(r, bytes) else str(r).encode("utf-8", "surrogateescape")) + b"\n" for r in records
    )

    async def run():
        reader = SeqFile(as_async(records)).open()
        for offset, size in reads:
            assert await _awaited(reader.read(offset, size)) == whole[offset : offset + size]
        await _awaited(reader.close())

    asyncio.run(run())


class Record:
    """Counts how many of its kind are alive."""

    alive = 0
    most = 0

    def __init__(self, number):
        self.number = number
        Record.alive += 1
        Record.most = max(Record.most, Record.alive)

    def __del__(self):
        Record.alive -= 1

    def __str__(self):
        return f"record {self.number:08}"


def test_a_million_records_never_stand_in_memory_at_once():
    reader = SeqFile(lambda: map(Record, range(1_000_000))).open()
    offset = 0
    while part := reader.read(offset, 1 << 16):
        offset += len(part)
    assert offset == 16 * 1_000_000
    assert Record.most <= 2


def test_a_reader_holds_no_more_than_a_request_of_text():
    reader = SeqFile(lambda: range(100_000), format="record {:08}").open()
    offset = 0
    tracemalloc.start()
    try:
        while part := reader.read(offset, 1 << 14):
            offset += len(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert offset == 16 * 100_000
    assert peak < 1 << 18


def test_going_far_on_holds_no_more_than_one_record():
    reader = SeqFile(lambda: itertools.repeat(b"x" * 999, 100_000)).open()
    tracemalloc.start()
    try:
        assert reader.read(99_999_000, 5000) == b"x" * 999 + b"\n"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


# ------------------------------------------------------------------------------------ errors


def failing(error, after=3):
    yield from range(after)
    raise error


def test_what_was_produced_before_an_error_is_read_first():
    reader = SeqFile(lambda: failing(OSError(errno.ENODEV, "gone"))).open()
    assert reader.read(0, 4096) == b"0\n1\n2\n"
    with pytest.raises(OSError, match="gone") as caught:
        reader.read(6, 4096)
    assert caught.value.errno == errno.ENODEV


def test_a_later_read_at_that_place_raises_the_same_error_again():
    reader = SeqFile(lambda: failing(ValueError("bug"))).open()
    reader.read(0, 4096)
    depths = []
    for offset in (6, 6, 100):
        with pytest.raises(ValueError, match="bug") as caught:
            reader.read(offset, 10)
        depths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert max(depths) - min(depths) == 0
    assert reader.read(6, 0) == b""


def test_a_seek_back_after_an_error_begins_anew():
    lives = iter([failing(OSError(errno.EIO, "once")), iter(["fine"])])
    reader = SeqFile(lambda: next(lives)).open()
    assert reader.read(0, 100) == b"0\n1\n2\n"
    with pytest.raises(OSError, match="once"):
        reader.read(6, 100)
    assert reader.read(0, 100) == b"fine\n"


def test_a_source_that_raises_is_an_error_at_the_start_and_repeats():
    calls = []

    def source():
        calls.append(1)
        raise PermissionError(errno.EACCES, "no")

    reader = SeqFile(source, header="h").open()
    for _ in range(2):
        with pytest.raises(PermissionError):
            reader.read(0, 100)
    assert len(calls) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration])
def test_a_format_that_raises_is_an_error_at_its_record(error):
    def show(n):
        if n == 2:
            raise error
        return n

    reader = SeqFile(range(5), format=show).open()
    assert reader.read(0, 100) == b"0\n1\n"
    with pytest.raises(error):
        reader.read(4, 100)


def test_a_source_that_returns_no_iterable_is_a_type_error_of_the_read():
    with pytest.raises(TypeError):
        SeqFile(lambda: 5).open().read(0, 1)


def test_an_async_iterator_that_raises_half_way_behaves_as_a_plain_one():
    async def produce():
        yield "a"
        await asyncio.sleep(0)
        raise OSError(errno.ENXIO, "lost")

    async def run():
        reader = SeqFile(produce).open()
        assert await reader.read(0, 100) == b"a\n"
        for _ in range(2):
            with pytest.raises(OSError, match="lost"):
                await reader.read(2, 100)
        assert await reader.read(0, 100) == b"a\n"
        await reader.close()

    asyncio.run(run())


def test_an_async_source_that_raises_is_an_error_at_the_start():
    async def fetch():
        raise OSError(errno.EHOSTDOWN, "down")

    async def run():
        reader = SeqFile(fetch).open()
        for _ in range(2):
            with pytest.raises(OSError, match="down"):
                await reader.read(0, 100)
        await reader.close()

    asyncio.run(run())


# ------------------------------------------------------------------------------------ async iterations


def test_a_record_is_read_when_it_comes_though_the_iterator_goes_on_waiting():
    async def run():
        queue = asyncio.Queue()

        async def produce():
            while True:
                yield await queue.get()

        reader = SeqFile(produce).open()
        queue.put_nowait("one")
        queue.put_nowait("two")
        assert await reader.read(0, 1 << 16) == b"one\ntwo\n"
        waiting = asyncio.ensure_future(reader.read(8, 1 << 16))
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.put_nowait("three")
        assert await waiting == b"three\n"
        await reader.close()

    asyncio.run(run())


def test_an_interrupted_reader_loses_no_record():
    async def run():
        queue = asyncio.Queue()

        async def produce():
            while True:
                yield await queue.get()

        reader = SeqFile(produce).open()
        interrupted = asyncio.ensure_future(reader.read(0, 100))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        interrupted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await interrupted
        queue.put_nowait("kept")
        assert await reader.read(0, 100) == b"kept\n"
        await reader.close()

    asyncio.run(run())


def test_reads_side_by_side_take_turns():
    async def run():
        reader = SeqFile(as_async(range(100_000, 200_000))).open()
        parts = await asyncio.gather(*(reader.read(7 * n, 7) for n in (5, 0, 9, 2)))
        assert parts == [b"100005\n", b"100000\n", b"100009\n", b"100002\n"]
        await reader.close()

    asyncio.run(run())


def test_close_ends_a_generator_that_waits():
    ended = []

    async def produce():
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def run():
        reader = SeqFile(produce).open()
        assert await reader.read(0, 100) == b"a\n"
        await reader.close()
        assert ended == [True]
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_close_before_the_source_was_awaited_leaves_nothing_behind():
    async def fetch():
        return []

    async def run():
        reader = SeqFile(fetch).open()
        reader.read(0, 10).close()
        await reader.close()

    asyncio.run(run())


def test_an_iterator_that_cancels_itself_is_an_error_and_not_the_end():
    async def produce():
        yield "a"
        raise asyncio.CancelledError

    async def run():
        reader = SeqFile(produce).open()
        assert await reader.read(0, 100) == b"a\n"
        with pytest.raises(OSError, match="cancelled") as caught:
            await reader.read(2, 100)
        assert caught.value.errno == errno.EIO
        await reader.close()

    asyncio.run(run())


def test_going_far_on_in_an_async_iteration_holds_a_bounded_text():
    async def run():
        reader = SeqFile(as_async(itertools.repeat(b"x" * 999, 20_000))).open()
        tracemalloc.start()
        try:
            assert await reader.read(19_999_000, 5000) == b"x" * 999 + b"\n"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await reader.close()
        assert peak < 1 << 20

    asyncio.run(run())


# ------------------------------------------------------------------------------------ lseek


def test_lseek_sets_a_place_and_knows_no_end_data_or_hole():
    reader = SeqFile(range(3)).open()
    assert reader.lseek(12345, os.SEEK_SET) == 12345
    for offset, whence in ((-1, os.SEEK_SET), (0, os.SEEK_END), (0, os.SEEK_DATA), (0, os.SEEK_HOLE)):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            reader.lseek(offset, whence)
        assert caught.value.errno == errno.EINVAL
