"""A trouble that lasts fills no log."""

from structlog.testing import capture_logs

from runtime.throttled_log import ThrottledLog


def test_a_trouble_is_logged_at_once_then_once_a_minute_and_when_it_is_over() -> None:
    now = 1000.0
    trouble = ThrottledLog("away", "back", lambda: now, channel="c")
    with capture_logs() as logs:
        trouble.over()
        for _ in range(150):
            trouble.failed("no answer", peer="p")
            now += 1
        trouble.over()
        trouble.over()
        trouble.failed("no answer")
    failure = {"event": "away", "log_level": "warning", "channel": "c", "error": "no answer"}
    assert logs == [
        *({**failure, "peer": "p", "count": count} for count in (1, 61, 121)),
        {"event": "back", "log_level": "info", "channel": "c", "seconds": 150.0, "count": 150},
        {**failure, "count": 1},
    ]
