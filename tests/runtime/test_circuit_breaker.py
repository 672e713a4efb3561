"""A server that failed is spared until one trial call succeeds."""

from runtime.circuit_breaker import CircuitBreaker
from tests.clock import Clock


def test_calls_are_refused_after_a_failure_until_a_trial_succeeds() -> None:
    clock = Clock()
    breaker = CircuitBreaker(pause_s=10, clock=clock)
    assert breaker.allow()
    breaker.succeeded()
    assert breaker.allow(), "the circuit stays closed"
    breaker.failed()
    assert (breaker.is_open, breaker.allow()) == (True, False)
    clock.now += 9.9
    assert not breaker.allow()
    clock.now += 0.1
    assert breaker.allow()
    assert not breaker.allow(), "one trial at a time"
    assert breaker.is_open, "until the trial ends"
    breaker.succeeded()
    assert (breaker.is_open, breaker.allow(), breaker.allow()) == (False, True, True)


def test_a_trial_that_fails_opens_the_circuit_again() -> None:
    clock = Clock()
    breaker = CircuitBreaker(pause_s=10, clock=clock)
    breaker.failed()
    clock.now += 10
    assert breaker.allow()
    breaker.failed()
    assert not breaker.allow()
    clock.now += 10
    assert breaker.allow()


def test_a_trial_that_is_abandoned_lets_another_call_try() -> None:
    clock = Clock()
    breaker = CircuitBreaker(pause_s=10, clock=clock)
    breaker.failed()
    clock.now += 10
    assert breaker.allow()
    breaker.abandoned()
    assert breaker.allow()
    assert not breaker.allow()


def test_a_call_that_began_before_the_failure_does_not_close_the_circuit() -> None:
    clock = Clock()
    breaker = CircuitBreaker(pause_s=10, clock=clock)
    assert (breaker.allow(), breaker.allow()) == (True, True)
    breaker.failed()
    breaker.succeeded()
    assert not breaker.allow(), "the circuit stays open"
    clock.now += 10
    assert breaker.allow()
    breaker.succeeded()
    assert not breaker.is_open
