"""Repeated failures do not fill the log."""

from structlog.testing import capture_logs

from runtime.throttled_log import ThrottledLog


def test_failures_are_logged_at_once_then_once_a_minute_and_at_their_end() -> None:
    now = 1000.0
    failures = ThrottledLog("unavailable", "available", clock=lambda: now, channel="c")
    with capture_logs() as logs:
        failures.recovered()
        for _ in range(150):
            failures.failed(error="no answer", peer="p")
            now += 1
        failures.recovered()
        failures.recovered()
        failures.failed(error="no answer")
    failure = {"event": "unavailable", "log_level": "warning", "channel": "c", "error": "no answer"}
    recovery = {"event": "available", "log_level": "info", "channel": "c", "seconds": 150.0}
    assert logs == [
        *({**failure, "peer": "p", "count": count} for count in (1, 61, 121)),
        {**recovery, "count": 150},
        {**failure, "count": 1},
    ]


def test_a_server_that_fails_and_recovers_every_second_can_be_logged_once_a_minute() -> None:
    now = 0.0
    failures = ThrottledLog("unavailable", "available", log_each_outage=False, clock=lambda: now)
    with capture_logs() as logs:
        for _ in range(120):
            failures.failed()
            now += 0.5
            failures.recovered()
            now += 0.5
    assert [entry["event"] for entry in logs] == ["unavailable", "available"] * 2
