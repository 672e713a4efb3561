"""Assembles the daemon and runs it until a signal ends it."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from cli.assembly.api import serve_api
from cli.assembly.channel import daemon_channel
from cli.assembly.mongo import mongo_client
from cli.assembly.monitoring import process_metrics, serve_monitoring
from cli.assembly.redis import configured_redis
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit
from cli.output.profile import print_profile
from cli.signals import exit_code_of, handle_signals
from cli.version import VERSION
from indexer.daemon import Daemon
from indexer.monitoring.time_shares import stage_times, time_shares
from indexer.progress.channel_progress import ChannelProgress
from runtime.process import tune_process


async def run_daemon(settings: Settings, *, with_api: bool, profile: bool = False) -> Exit:
    """Index the configured channels until SIGTERM, SIGINT or SIGHUP; return the exit code.

    A second signal ends the daemon at once. With `profile`, show for each channel where the time
    went until it had caught up.
    """
    if not settings.channels:
        raise ConfigurationError(
            "channels: none is configured; add a table, for example [channels.kindledger]"
        )
    async with AsyncExitStack() as parts:
        registry = await parts.enter_async_context(process_metrics(VERSION))
        client = await parts.enter_async_context(mongo_client(settings, registry))
        redis = await parts.enter_async_context(configured_redis(settings.redis))
        channels = [
            await parts.enter_async_context(
                daemon_channel(channel, settings, client, redis, registry)
            )
            for channel in settings.channels
        ]
        await parts.enter_async_context(serve_monitoring(settings.monitoring, channels, registry))
        if with_api:
            await parts.enter_async_context(serve_api(client, settings, registry))
        if profile:
            channels = [
                replace(
                    channel,
                    background_tasks=(
                        *channel.background_tasks,
                        partial(_profile_catch_up, channel.progress),
                    ),
                )
                for channel in channels
            ]
        return await run_until_signal(Daemon(channels, VERSION))


async def _profile_catch_up(progress: ChannelProgress) -> None:
    """Print where the time went, when the channel has caught up or the daemon ends."""
    began = stage_times(progress, time.monotonic())
    try:
        await progress.wait_until_caught_up()
    finally:
        shares = time_shares(began, stage_times(progress, time.monotonic()))
        print_profile(progress.channel, shares, progress.encoder)


async def run_until_signal(daemon: Daemon) -> Exit:
    """Run the daemon until its channels end or a signal comes; return the exit code.

    The first signal lets the daemon store what it has taken, the second one ends it at once.
    """
    tune_process()
    running = asyncio.ensure_future(daemon.run())
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if received:
            running.cancel()
        received.append(number)
        daemon.stop()

    with handle_signals(on_signal):
        try:
            await running
        except asyncio.CancelledError:
            if not received:
                raise
    return exit_code_of(received[0]) if received else Exit.OK
