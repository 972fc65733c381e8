"""Tests of ecjax.filesystems: what URLs name, what is shown of them, and how long is waited."""

import sys
import threading
import time

import pytest
from pyarrow import fs

from ecjax import filesystems
from ecjax.errors import InputError
from ecjax.filesystems import is_url, opened, patiently, split


@pytest.mark.parametrize(
    ("text", "parts", "shown"),
    [
        ("s3://bucket", ("s3", "", "", "bucket", "", ""), "s3://bucket"),
        ("s3://b/a//run/?x=1", ("s3", "", "", "b", "a/run", "x=1"), "s3://b/a/run"),
        ("S3://k:s@b/x y%20z#1", ("s3", "k", "s", "b", "x y%20z#1", ""), "s3://b/x y%20z#1"),
        ("gs://anonymous@b/x", ("gs", "anonymous", "", "b", "x", ""), "gs://anonymous@b/x"),
        ("abfs://box@account.net/x", ("abfs", "box", "", "account.net", "x", ""),
         "abfs://box@account.net/x"),
        ("hf://datasets/u/r@main/x", ("hf", "", "", "datasets", "u/r@main/x", ""),
         "hf://datasets/u/r@main/x"),
        ("https://token@host:80/x", ("https", "token", "", "host:80", "x", ""), "https://host:80/x"),
    ],
)  # fmt: skip
def test_parts_of_a_url_and_what_is_shown(text, parts, shown):
    url = split(text)
    assert (url.scheme, url.user, url.password, url.host, url.path, url.query) == parts
    assert str(url) == shown
    assert "user" not in repr(url) and "query" not in repr(url)


def test_what_is_a_url():
    assert is_url("s3://b") and is_url("hf://datasets/a") and is_url("file:///x")
    for text in ("run", "/run", "a:b/c", "C:\\x", "./s3:", "1://x"):
        assert not is_url(text)
    for text in ("s3:/bucket/run", "s3:/key:pass@bucket"):
        with pytest.raises(InputError, match="two slashes") as raised:
            is_url(text)
        assert "bucket" not in str(raised.value)


@pytest.mark.parametrize("text", ["s3://key:q/xyzzy@bucket/x", "s3://key:1/xyzzy@b/x",
                                  "sftp://key:q?xyzzy@host/x"])  # fmt: skip
def test_a_secret_that_spoils_its_url_is_refused_and_not_shown(text):
    with pytest.raises(InputError, match="names no bucket"):
        split("s3:///run")
    with pytest.raises(InputError, match="%2F") as raised:
        split(text)
    assert "xyzzy" not in str(raised.value) and "key" not in str(raised.value)


def test_secrets_are_taken_out_of_a_stores_words():
    url = split("s3://key:pa%2Fss@b/x?region=eu&token=abc")
    told = url.told("no\n  key pa%2Fss, pa/ss or abc in eu")
    assert told == "no *** ***, *** or *** in eu"
    assert url.shown_query == "?region=eu&token=***"
    assert split("s3://b?region=eu").told("") == "str"


def test_options_of_s3_are_those_of_pyarrow():
    given = "s3://k:s%2Fx@b/x?endpoint_override=localhost:1&scheme=http&region=eu"
    filesystem, base = opened(split(given))
    theirs, path = fs.FileSystem.from_uri(given.replace("?", "?allow_delayed_open=true&"))
    assert isinstance(filesystem, fs.S3FileSystem) and f"{base}/x" == path
    own, other = (f.__reduce__()[1][0] for f in (filesystem, theirs))
    assert {key for key in own if own[key] != other[key]} == {"connect_timeout", "request_timeout"}
    assert opened(split(given))[0] is filesystem  # opened once
    with pytest.raises(InputError, match='s3://b: unknown option "regoin"; known: "region"'):
        opened(split("s3://b?regoin=eu"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s5://b/x", "s5://b: nothing here opens s5://"),
        ("memory://b?x=1", "memory:// takes no options"),
        ("abfs://:key@account?x=secret", "abfs://account: cannot be opened"),
    ],
)
def test_what_cannot_be_opened(text, words):
    with pytest.raises(InputError, match=words) as raised:
        opened(split(text))
    assert "secret" not in str(raised.value) and "key" not in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"hf:// needs a package.*ecjax\[cloud\]"):
        opened(split("hf://datasets/me/run"))
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"hf:// needs fsspec; pip install 'ecjax\[cloud\]'"):
        opened(split("hf://datasets/me/run"))


def test_patience_ends_with_silence_and_not_with_length(monkeypatch):
    assert 20 <= filesystems.PATIENCE <= 120  # "about a minute"
    monkeypatch.setattr(filesystems, "PATIENCE", 0.3)

    def slow(alive):
        for _ in range(8):
            time.sleep(0.1)
            alive()
        return "done"

    assert patiently(slow) == "done"
    assert patiently(lambda alive: time.sleep(0.4) or "late", 5.0) == "late"
    silent = threading.Event()
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer for 0.3 s"):
        patiently(lambda alive: silent.wait())
    assert 0.3 <= time.monotonic() - start < 5
    silent.set()
    with pytest.raises(KeyError, match="inside"):
        patiently(lambda alive: {}["inside"])
