"""Checks whether the configured peers can agree on blocks as `trust.peers_required` demands."""

from cli.assembly.agreement import missing_organisations, organisations_of
from cli.assembly.network import endpoints
from cli.configuration.settings import Settings
from cli.doctor.checks import Check, Outcome, skipped
from cli.errors import ConfigurationError, Exit

_ADVICE = (
    "Configure peers of further organisations (fabric.peers), name their organisations (msp_id), "
    "or lower trust.peers_required."
)
_NAME_THEM = (
    "Set msp_id at each peer in fabric.peers, or list the peers of each organisation in the "
    "connection profile."
)


def check_trust(settings: Settings) -> list[Check]:
    """Return a check for each channel; the peers are not asked."""
    if not settings.fabric.peers and settings.fabric.connection_profile is None:
        return []
    return [_check_channel(settings, channel) for channel in settings.channels]


def _check_channel(settings: Settings, channel: str) -> Check:
    name, required = f"trust, {channel}", settings.trust.peers_required
    try:
        organisations = organisations_of(endpoints(settings.fabric, channel))
    except ConfigurationError:
        return skipped(name, "needs the peers")
    problem = missing_organisations(organisations, required, channel)
    if problem is not None:
        return Check(name, Outcome.FAILED, problem, _ADVICE, Exit.CONFIGURATION)
    detail = (
        f"{len(organisations)} peers of {len(set(organisations))} organisations; a block is agreed "
        f"when {required} of them gave it"
    )
    unknown = organisations.count(None)
    if unknown and len(organisations) > 1:
        text = f"{detail}; the organisation of {unknown} peers is not known, and they count as one"
        return Check(name, Outcome.WARNING, text, _NAME_THEM)
    return Check(name, Outcome.OK, detail)
