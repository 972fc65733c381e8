"""Shards and processes: how they are named, found and refused."""

import atexit
import socket
import threading
import time

import jax
import pytest

from ecjax import meetings, processes
from ecjax.errors import UsageError
from ecjax.peers import Alone, PeerLost
from ecjax.settings import Settings


def test_shards_share_everything_once():
    cells = [f"cell {i}" for i in range(11)]
    for count in (1, 3, 11, 20):
        parts = [processes.share(cells, processes.Shard(i, count)) for i in range(count)]
        assert sorted(sum(parts, [])) == sorted(cells)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert processes.share(cells, Alone()) == cells


def test_a_shard_counts_from_0():
    assert processes.parse_shard("0/4") == processes.Shard(0, 4)
    assert processes.parse_shard("3/4") == processes.Shard(3, 4)


@pytest.mark.parametrize(
    ("text", "why"),
    [("4/4", "of 4 they are 0 to 3"), ("1", "i/N is wanted"), ("a/4", "i/N is wanted"),
     ("-1/4", "i/N is wanted"), ("1/4/5", "i/N is wanted"), ("", "i/N is wanted"),
     ("0/0", "must be a part"), ("1.0/2", "i/N is wanted"), ("²/4", "i/N is wanted")],
)  # fmt: skip
def test_other_shards_are_refused(text, why):
    with pytest.raises(UsageError, match=why):
        processes.parse_shard(text)


def test_a_shard_adds_no_rows():
    with pytest.raises(UsageError, match="rows cannot be divided"):
        processes.Shard(0, 2).summed([])


@pytest.fixture
def nowhere(monkeypatch):
    """An environment that tells of no job."""
    for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE",
                 "JOB_COMPLETION_INDEX", "TPU_ML_PLATFORM", "JAX_COORDINATOR_ADDRESS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_one_process_is_alone_and_jax_is_left_alone(nowhere):
    for given in ({}, {"num_processes": 1}, {"num_processes": 1, "process_id": 0}):
        with processes.join(**given) as alone:
            assert (alone.index, alone.count) == (0, 1)
            alone.meet("anywhere")
            alone.check()
            assert alone.summed({"a": 3}) == {"a": 3}
    assert not jax.distributed.is_initialized()


@pytest.mark.parametrize(
    ("given", "why"),
    [({"num_processes": 2}, "coordinator and process_id"), ({"process_id": 0}, "num_processes"),
     ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "0 to 1"),
     ({"coordinator": "a:1", "num_processes": 0, "process_id": 0}, "num_processes=0"),
     ({"coordinator": "a", "num_processes": 2, "process_id": 1}, "host:port"),
     ({"coordinator": ":1", "num_processes": 2, "process_id": 1}, "host:port"),
     ({"coordinator": "a:99999", "num_processes": 2, "process_id": 1}, "host:port")],
)  # fmt: skip
def test_arguments_that_do_not_do_are_refused(nowhere, given, why):
    with pytest.raises(UsageError, match=why):
        processes.join(**given)


def test_a_port_that_is_taken_is_said(nowhere):
    hub = meetings.Hub("localhost", 0, 2)
    port = hub._listener.getsockname()[1]
    with pytest.raises(UsageError, match=f"localhost:{port}.*another run"):
        processes.join(f"localhost:{port}", 2, 0)


def test_a_first_process_that_never_comes_is_lost(nowhere):
    nowhere.setattr(meetings, "JOIN_S", 0.1)
    with pytest.raises(PeerLost, match="process 0 of 2 has not come .* goes on from there"):
        processes.join("localhost:1", 2, 1)


def test_a_process_that_goes_before_all_have_come_is_lost_at_once(nowhere):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]

    def come_and_go():
        line = meetings.connect("localhost", port)
        line.send(hello={"index": 2, "count": 3, "host": "node2"})
        line.close()

    ends = []
    nowhere.setattr(atexit, "register", lambda *end: ends.append(end))
    threading.Timer(0.1, come_and_go).start()
    begun = time.monotonic()
    with pytest.raises(PeerLost, match=r"process 2 of 3 \(host node2\) is gone; .* goes on"):
        processes.join(f"localhost:{port}", 3, 0)
    assert time.monotonic() - begun < 10
    assert [code for _, code in ends] == [75]


SLURM = {
    "SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "node[007-008]", "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
}  # fmt: skip


@pytest.fixture
def joined(nowhere):
    """What would be joined, as (host, port, index, count); nothing is."""
    found = []

    class Joined(Alone):
        def __init__(self, index, count, line, hub):
            found.append((*line, index, count))

        def start(self, host):
            assert host == found[0][0]

    nowhere.setattr(processes, "Peers", Joined)
    nowhere.setattr(meetings, "connect", lambda host, port: (host, port))
    return found


def test_a_step_of_slurm_is_found(nowhere, joined):
    for name, value in SLURM.items():
        nowhere.setenv(name, value)
    processes.join()
    assert joined == [("node007", 61440 + 77, 1, 2)]


@pytest.mark.parametrize(
    "job",
    [SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
     {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}],
)  # fmt: skip
def test_a_process_alone_in_its_allocation_looks_for_no_other(nowhere, joined, job):
    for name, value in job.items():
        nowhere.setenv(name, value)
    assert processes.join().count == 1 and joined == []


def test_a_pod_of_an_indexed_job_that_finds_no_others_is_refused(nowhere):
    nowhere.setenv("JOB_COMPLETION_INDEX", "3")
    nowhere.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for coordinator in ("", "host:9876"):  # which alone does not tell how many they are
        nowhere.setenv("JAX_COORDINATOR_ADDRESS", coordinator)
        with pytest.raises(UsageError, match=r"pod 3 .* shard=3/N.* num_processes=1"):
            processes.of(Settings())
    assert processes.of(Settings(num_processes=1)).count == 1
    assert processes.of(Settings(shard="3/8")) == processes.Shard(3, 8)


def test_a_job_that_cannot_be_asked_is_said(nowhere):
    for name, value in (SLURM | {"SLURM_PROCID": "one"}).items():
        nowhere.setenv(name, value)
    with pytest.raises(UsageError, match="which processes share this job .*num_processes=1"):
        processes.join()
    assert processes.join(num_processes=1).count == 1
