"""Decodes calls of the chaincode `_lifecycle` that approve or commit a chaincode definition."""

from typing import Literal

from ledger.decoding.parsing import DecodingErrors, parse
from ledger.model import Action, Lifecycle
from protos.lifecycle_pb2 import (
    ApproveChaincodeDefinitionForMyOrgArgs,
    CommitChaincodeDefinitionArgs,
)

_NAMESPACE = "_lifecycle"


def decode_lifecycle(action: Action, errors: DecodingErrors) -> Lifecycle | None:
    """Return the chaincode definition that `action` approves or commits, or None."""
    if action.chaincode is None or action.chaincode.name != _NAMESPACE or len(action.args) < 2:
        return None
    function, definition = action.args[:2]
    if function == b"ApproveChaincodeDefinitionForMyOrg":
        approval = parse(
            ApproveChaincodeDefinitionForMyOrgArgs, definition, errors, "actions.0.args.1"
        )
        return approval and _lifecycle(
            "approve", approval, approval.source.local_package.package_id or None
        )
    if function == b"CommitChaincodeDefinition":
        commit = parse(CommitChaincodeDefinitionArgs, definition, errors, "actions.0.args.1")
        return commit and _lifecycle("commit", commit, None)
    return None


def _lifecycle(
    kind: Literal["approve", "commit"],
    definition: ApproveChaincodeDefinitionForMyOrgArgs | CommitChaincodeDefinitionArgs,
    package_id: str | None,
) -> Lifecycle:
    return Lifecycle(
        kind=kind,
        name=definition.name,
        version=definition.version,
        sequence=definition.sequence,
        init_required=definition.init_required,
        collections=tuple(c.static_collection_config.name for c in definition.collections.config),
        package_id=package_id,
    )
