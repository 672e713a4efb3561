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

    def ordinary_writes(self, writes: NamespaceWrites) -> tuple[tuple[str, ...], bool]:
        """Return the collections with written keys that have no endorsement policy of their own.

        The empty name stands for the public keys. The second value says whether other keys are
        written, which may have such a policy.
        """
        if self.complete and not self.crowded and not self.keys:
            public = ("",) if writes.writes_public else ()
            return public + writes.written_collections, False
        ordinary: dict[str, None] = {}
        has_own_policies = False
        for key in writes.written_keys():
            if not self.complete or writes.name in self.crowded or key in self.keys:
                has_own_policies = True
            else:
                ordinary[key[1]] = None
        return tuple(ordinary), has_own_policies

    def with_keys(self, transactions: Iterable[EnvelopeParts]) -> "ChaincodeDefinitions":
        """Return the definitions with the keys whose policies the transactions set or remove.

        A key stays among them also when its policy is removed.
        """
        keys = set(self.keys)
        full: set[str] = set()
        for transaction in transactions:
            for namespace in transaction.namespaces:
                if namespace.name in self.crowded:
                    continue
                for key in namespace.keys_with_metadata():
                    if len(keys) > MAX_KEYS_WITH_POLICY:
                        full.add(namespace.name)
                        break
                    keys.add(key)
        if len(keys) == len(self.keys):
            return self
        if len(keys) > MAX_KEYS_WITH_POLICY:
            full |= {key[0] for key in keys - self.keys}
        return replace(
            self,
            keys=frozenset(key for key in keys if key[0] not in full),
            crowded=self.crowded | full,
        )

    def after(self, transactions: Iterable[EnvelopeParts]) -> "ChaincodeDefinitions":
        """Return the definitions after a block, of which only the VALID transactions are given.

        They are in force from the next block on, as in Fabric.
        """
        valid = tuple(transactions)
        result = self.with_keys(valid)
        written = [
            namespace
            for transaction in valid
            for namespace in transaction.namespaces
            if namespace.name in (LIFECYCLE, _LEGACY) and namespace.public.writes
        ]
        if not written:
            return result
        current, legacy = dict(self.current), dict(self.legacy)
        for namespace in written:
            if namespace.name == LIFECYCLE:
                _apply_lifecycle(current, namespace)
            else:
                _apply_legacy(legacy, namespace)
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
