"""What an address of a Redis may say."""

from __future__ import annotations

import pytest

from common.redis_url import SentinelAddress, check_redis_url, sentinels_of
from common.state.connection.redis_client import connect


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379",
        "redis://h/",
        "redis://user@h:1/15",
        "rediss://h/0?socket_timeout=3",
        "redis://h?db=3",
        "redis://h?db=3&other=",
        "redis://h/0?client_name=etl&socket_keepalive=True&health_check_interval=5",
        "rediss://h/0?ssl_cert_reqs=none&ssl_certfile=/run/c.pem&ssl_keyfile=/run/k.pem",
        "redis://[::1]:6379/0",
        "unix:///run/redis.sock?db=1",
        "unix://user@/run/redis.sock",
        "redis+sentinel://a,b:26380,c/name/2",
        "rediss+sentinel://user@a/name",
    ],
)
def test_good(url: str) -> None:
    check_redis_url(url)
    if sentinels_of(url) is None:
        # What is taken, a connection can be made of.
        connect(url).connection_pool.make_connection()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis", "must begin with redis://"),
        ("http://h", "must begin with redis://"),
        ("redis://", "must name a host"),
        ("redis://h:port", "malformed"),
        ("redis://h /0", "spaces"),
        ("redis://h/name", "must be the number of a database"),
        ("redis://h/0/1", "must be the number of a database"),
        ("redis://:word@h", "must not carry credentials"),
        ("redis://h?password=word", "must not carry credentials"),
        ("redis://h/0?db=1&PASSWORD=word", "must not carry credentials"),
        ("redis://h?pass%77ord=word", "must not carry credentials"),
        ("rediss://h?ssl_password=word", "must not carry credentials"),
        ("unix:///run/redis.sock?password=word", "must not carry credentials"),
        ("unix://user:word@/run/redis.sock", "must not carry credentials"),
        ("redis+sentinel://u:word@a/name", "must not carry credentials"),
        ("redis+sentinel://a/name?password=word", "must not carry credentials"),
        ("redis://h?other=word", "has a parameter that is none of client_name, db, "),
        ("redis://h?protocol=3", "has a parameter that is none of"),
        ("redis://h?decode_responses=true", "has a parameter that is none of"),
        ("redis://h?ssl_cert_reqs=none", "has a parameter that is none of"),
        ("rediss://h?ssl_cert_reqs=never", "ssl_cert_reqs whose value cannot be used"),
        ("redis://h?db=word", "db whose value cannot be used"),
        ("redis://h/0?socket_timeout=word", "socket_timeout whose value cannot be used"),
        ("unix:///run/redis.sock?db=word", "db whose value cannot be used"),
        ("redis+sentinel://a,b", "must name the master"),
        ("redis+sentinel://a,b/", "must name the master"),
        ("redis+sentinel://a,b//0", "must name the master"),
        ("redis+sentinel://a,,b/name", "must name the hosts of the Sentinels"),
        ("redis+sentinel:///name", "must name the hosts of the Sentinels"),
        ("redis+sentinel://user@/name", "must name the hosts of the Sentinels"),
        ("redis+sentinel://:26379/name", "must name the hosts of the Sentinels"),
        ("redis+sentinel://a:port/name", "whose port is no number from 1 to 65535"),
        ("redis+sentinel://a:/name", "whose port is no number from 1 to 65535"),
        ("redis+sentinel://a:0/name", "whose port is no number from 1 to 65535"),
        ("redis+sentinel://a,b:65536/name", "whose port is no number from 1 to 65535"),
        ("redis+sentinel://[::1/name", "neither HOST nor HOST:PORT"),
        ("redis+sentinel://a/name/db", "must end with the number of a database"),
        ("redis+sentinel://a/name/0/1", "must end with the number of a database"),
        ("redis+sentinel://a/name/0?db=1", "must not carry a query"),
        ("redis+sentinel://a/na+me/0", "names a master that no Sentinel can know"),
        ("redis+sentinel://a/na me/0", "spaces"),
    ],
)
def test_bad_and_nothing_of_the_url_is_shown(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        check_redis_url(url)
    assert "word@" not in str(caught.value)
    assert "=word" not in str(caught.value)


def test_sentinels() -> None:
    assert sentinels_of("redis://h") is None
    assert sentinels_of("rediss+sentinel://u%40x@a,b:1,[::1]:2/main/7") == SentinelAddress(
        (("a", 26379), ("b", 1), ("::1", 2)), "main", 7, "u@x", True
    )
    assert sentinels_of("redis+sentinel://a/main") == SentinelAddress(
        (("a", 26379),), "main", 0, None, False
    )
