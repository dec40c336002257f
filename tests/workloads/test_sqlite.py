# SPDX-License-Identifier: Apache-2.0
"""sqlite databases stay whole while several processes change them: locks, journals, shared memory."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_WORKERS = 4
_ROUNDS = 60

# Each worker moves money between accounts and leaves a record; the sum never changes.
_WORKER = """
import random, sqlite3, sys
path, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(number)
connection = sqlite3.connect(path, timeout=60, isolation_level=None)
connection.execute("pragma synchronous=normal")
for round in range(rounds):
    connection.execute("begin immediate")
    a, b, amount = rng.randrange(100), rng.randrange(100), rng.randrange(50)
    connection.execute("update account set money = money - ? where id = ?", (amount, a))
    connection.execute("update account set money = money + ? where id = ?", (amount, b))
    connection.execute("insert into record values (?, ?, ?)", (number, round, rng.randbytes(rng.randrange(3000))))
    if rng.random() < 0.1:
        connection.execute("rollback")
        connection.execute("insert into record values (?, ?, null)", (number, round))
    else:
        connection.execute("commit")
    if sum(row[0] for row in connection.execute("select money from account")) != 100000:
        sys.exit("the sum is wrong in the middle")
connection.close()
"""


@pytest.mark.parametrize("journal", ["wal", "delete", "truncate", "persist"])
def test_the_database_is_whole_after_several_writers(journal, top):
    path = top / "bank.db"
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute(f"pragma journal_mode={journal}").fetchone() == (journal,)
    connection.execute("create table account (id integer primary key, money integer)")
    connection.execute(
        "create table record (worker integer, round integer, data blob, primary key (worker, round))"
    )
    connection.executemany("insert into account values (?, 1000)", [(number,) for number in range(100)])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, path, str(number), str(_ROUNDS)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(_WORKERS)
    ]
    try:
        failures = [text for worker in workers if (text := worker.communicate(timeout=150)[1])]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert failures == []
    assert connection.execute("select sum(money) from account").fetchone() == (100_000,)
    assert connection.execute("select count(*) from record").fetchone() == (_WORKERS * _ROUNDS,)
    connection.execute("vacuum")
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_writer_that_is_killed_leaves_a_whole_database(top):
    path = top / "bank.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("create table account (id integer primary key, money integer)")
    connection.execute(
        "create table record (worker integer, round integer, data blob, primary key (worker, round))"
    )
    connection.executemany("insert into account values (?, 1000)", [(number,) for number in range(100)])
    for number in range(4):
        worker = subprocess.Popen([sys.executable, "-c", _WORKER, path, str(number), "100000"])
        try:
            while (
                connection.execute("select count(*) from record where worker = ?", (number,)).fetchone()[0]
                < 20
            ):
                assert worker.poll() is None
        finally:
            worker.kill()
            worker.wait()
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("select sum(money) from account").fetchone() == (100_000,)
    connection.close()
