"""Follows the committed chaincode definitions, and the keys that have policies of their own.

`_lifecycle` keeps a definition under `namespaces/fields/NAME/FIELD`, as `core/chaincode/lifecycle`
in Fabric writes it. Before Fabric 2.0, `lscc` kept a definition under the chaincode's name.
"""

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from msgspec import Struct
from msgspec.structs import replace

from ledger.trust.envelope_parts import EnvelopeParts, Key, NamespaceWrites
from ledger.trust.limits import MAX_CHAINCODES, MAX_KEYS_WITH_POLICY
from protos.chaincode_pb2 import ChaincodeData
from protos.collection_pb2 import ApplicationPolicy, CollectionConfigPackage
from protos.configuration_pb2 import SignaturePolicyEnvelope
from protos.lifecycle_pb2 import ChaincodeValidationInfo, StateData

LIFECYCLE = "_lifecycle"
_LEGACY = "lscc"
_FIELDS = "namespaces/fields/"


class Definition(Struct, frozen=True):
    """What a chaincode's definition says about validation.

    `policy`: the serialized `ApplicationPolicy`. `collections`: whether each private collection has
    an endorsement policy of its own, by its name; None before Fabric 2.0, which does not ask.
    `fault` says why the definition cannot be read, or is empty.
    """

    plugin: str = ""
    policy: bytes = b""
    collections: dict[str, bool] | None = None
    fault: str = ""


class ChaincodeDefinitions(Struct, frozen=True):
    """The definitions that are in force for the transactions of a block.

    `complete`: whether every definition is known, because the chain was followed from block 0 on.
    Where it is not, a chaincode without a known definition is not checked, nor is any key.
    `keys`: the keys that may have an endorsement policy of their own. `crowded`: the namespaces
    with more such keys than are remembered.
    """

    complete: bool = True
    current: dict[str, Definition] = {}
    legacy: dict[str, Definition] = {}
    keys: frozenset[Key] = frozenset()
    crowded: frozenset[str] = frozenset()

    def find(self, chaincode: str) -> Definition | None:
        """Return the definition of a chaincode, or None if none is known."""
        return self.current.get(chaincode) or self.legacy.get(chaincode)

    def has_own_policy(self, writes: NamespaceWrites) -> bool:
        """Return whether a key that is written may have an endorsement policy of its own."""
        if not self.complete or writes.name in self.crowded:
            return any(True for _ in writes.written_keys())
        return bool(self.keys) and any(key in self.keys for key in writes.written_keys())

    def with_keys(self, transactions: Iterable[EnvelopeParts]) -> "ChaincodeDefinitions":
        """Return the definitions with the keys whose policies the transactions set or remove.

        A key stays among them also when its policy is removed.
        """
        found = {
            key
            for transaction in transactions
            for namespace in transaction.namespaces
            if namespace.name not in self.crowded
            for key in namespace.keys_with_metadata()
        }
        if found <= self.keys:
            return self
        keys = self.keys | found
        if len(keys) <= MAX_KEYS_WITH_POLICY:
            return replace(self, keys=keys)
        return replace(
            self, keys=frozenset(), crowded=self.crowded | {namespace for namespace, _, _ in keys}
        )

    def after(self, transactions: Iterable[EnvelopeParts]) -> "ChaincodeDefinitions":
        """Return the definitions after a block, of which only the VALID transactions are given.

        They are in force from the next block on, as in Fabric.
        """
        valid = tuple(transactions)
        result = self.with_keys(valid)
        current, legacy = dict(self.current), dict(self.legacy)
        for transaction in valid:
            for namespace in transaction.namespaces:
                if namespace.name == LIFECYCLE:
                    _apply_lifecycle(current, namespace)
                elif namespace.name == _LEGACY:
                    _apply_legacy(legacy, namespace)
        if current == self.current and legacy == self.legacy:
            return result
        complete = self.complete and len(current) + len(legacy) <= MAX_CHAINCODES
        if len(current) + len(legacy) > MAX_CHAINCODES:
            current, legacy = self.current, self.legacy
        return replace(result, complete=complete, current=current, legacy=legacy)


def _apply_lifecycle(definitions: dict[str, Definition], namespace: NamespaceWrites) -> None:
    for write in namespace.public.writes:
        name, _, field = write.key.removeprefix(_FIELDS).partition("/")
        if not write.key.startswith(_FIELDS) or field not in ("ValidationInfo", "Collections"):
            continue
        definition = definitions.get(name, Definition(collections={}))
        try:
            value = StateData.FromString(write.value).Bytes
            if field == "ValidationInfo":
                info = ChaincodeValidationInfo.FromString(value)
                definition = replace(
                    definition, plugin=info.validation_plugin, policy=info.validation_parameter
                )
            else:
                definition = replace(definition, collections=_collections(value))
        except DecodeError:
            definition = replace(definition, fault=f"its {field} cannot be parsed")
        definitions[name] = definition


def _collections(package: bytes) -> dict[str, bool]:
    configs = [
        config.static_collection_config
        for config in CollectionConfigPackage.FromString(package).config
    ]
    return {config.name: config.HasField("endorsement_policy") for config in configs}


def _apply_legacy(definitions: dict[str, Definition], namespace: NamespaceWrites) -> None:
    for write in namespace.public.writes:
        if "~" in write.key:  # the collections of a chaincode: NAME~collection
            continue
        try:
            data = ChaincodeData.FromString(write.value)
            policy = ApplicationPolicy(
                signature_policy=SignaturePolicyEnvelope.FromString(data.policy)
            )
            definition = Definition(data.vscc, policy.SerializeToString())
        except DecodeError:
            definition = Definition(fault="it cannot be parsed")
        definitions[write.key] = definition
