"""A failure that repeats does not fill the log."""

from structlog.testing import capture_logs

from runtime.throttled_log import ThrottledLog


def test_a_failure_is_logged_at_once_then_once_a_minute_and_when_it_is_over() -> None:
    now = 1000.0
    failures = ThrottledLog("away", "back", clock=lambda: now, channel="c")
    with capture_logs() as logs:
        failures.recovered()
        for _ in range(150):
            failures.failed(error="no answer", peer="p")
            now += 1
        failures.recovered()
        failures.recovered()
        now += 60
        failures.failed(error="no answer")
    failure = {"event": "away", "log_level": "warning", "channel": "c", "error": "no answer"}
    assert logs == [
        *({**failure, "peer": "p", "count": count} for count in (1, 61, 121)),
        {"event": "back", "log_level": "info", "channel": "c", "seconds": 150.0, "count": 150},
        {**failure, "count": 1},
    ]


def test_a_server_that_comes_and_goes_is_logged_once_a_minute() -> None:
    now = 0.0
    failures = ThrottledLog("away", "back", clock=lambda: now)
    with capture_logs() as logs:
        for _ in range(120):
            failures.failed()
            now += 0.5
            failures.recovered()
            now += 0.5
    assert [entry["event"] for entry in logs] == ["away", "back", "away", "back"]
