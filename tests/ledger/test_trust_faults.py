"""The tests of `ledger.trust` find faults that are made in it on purpose."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ledger.compiled_builds import Fault

pytestmark = pytest.mark.long

_ROOT = Path(__file__).parent.parent.parent
_PACKAGES = ("protos", "runtime", "ledger", "devnet", "tests")
_TESTS = tuple(
    f"tests/ledger/test_trust_{name}.py"
    for name in (
        *("signatures", "principals", "policies", "definitions"),
        *("identities", "blocks", "envelopes", "limits"),
    )
)
_OPTIONS = ("-x", "-q", "-m", "not long", "--noconftest", "-p", "no:cacheprovider")
_SETTINGS = "[pytest]\nmarkers = long: tests that take minutes\n"
_ENVIRONMENT = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""The tests need no server and no plugin, and start faster without."""

FAULTS = [
    Fault("a high S is accepted", "keys.py", "not 0 < s <= half", "not 0 < s"),
    Fault(
        "the hash family is ignored",
        "keys.py",
        "_HASHES.get(hash_family)",
        '_HASHES["SHA2"]',
    ),
    Fault(
        "an expired authority issues certificates",
        "chains.py",
        "if not certificate.not_before <= self._time <= certificate.not_after:",
        "if not certificate.not_before <= self._time:",
    ),
    Fault(
        "certificates are verified at the end of their validity",
        "chains.py",
        "return certificate.not_before + timedelta(seconds=1)",
        "return certificate.not_after",
    ),
    Fault("any number of chains is accepted", "chains.py", "if len(chains) > 1:", "if False:"),
    Fault(
        "a chain has any length",
        "chains.py",
        "return limit is None or len(below) - 1 <= limit",
        "return True",
    ),
    Fault(
        "unknown critical extensions are accepted",
        "certificates.py",
        "if extension.critical and extension.oid not in _UNDERSTOOD:",
        "if False:",
    ),
    Fault(
        "the use of an authority's key is ignored",
        "certificates.py",
        "or not issuer.may_certify:",
        "or False:",
    ),
    Fault(
        "the unused bits of a certificate's signature are ignored",
        "certificates.py",
        "if der[-len(parsed.signature) - 1]:",
        "if False:",
    ),
    Fault(
        "certificates are compared with any S",
        "certificates.py",
        "encode_dss_signature(r, min(s, order - s))",
        "encode_dss_signature(r, s)",
    ),
    Fault(
        "revocation lists are ignored",
        "revocation.py",
        "certificate.parsed.serial_number in revocations.serials",
        "False",
    ),
    Fault(
        "a revocation list needs no signature",
        "revocation.py",
        "and _is_signed(revocations.parsed, issuer.public_key)",
        "",
    ),
    Fault(
        "an authority is an identity",
        "msp.py",
        "if certificate.is_ca:\n                raise",
        "if False:\n                raise",
    ),
    Fault(
        "every authority of a tree issues identities",
        "msp.py",
        "if chain[1].der in self._inner:",
        "if False:",
    ),
    Fault(
        "Ed25519 needs no capability",
        "msp.py",
        "self.version < MspVersion.V3_0 and _is_ed25519(certificate)",
        "False",
    ),
    Fault("several roles are accepted", "node_units.py", "if count == 1:", "if count >= 1:"),
    Fault(
        "the authority of a role is ignored",
        "node_units.py",
        "if paths[name] and paths[name] != path:",
        "if False:",
    ),
    Fault(
        "every member has every role",
        "principals.py",
        "_ROLE_NAMES[role] in msp.node_units.roles(identity.units)",
        "True",
    ),
    Fault(
        "members of any organisation satisfy a role",
        "principals.py",
        "role.msp_identifier == msp.name and _has_role",
        "_has_role",
    ),
    Fault(
        "an identity counts as often as it signs",
        "signers.py",
        "good[signer.identity.key] = signer",
        "good[signer.identity.msp_id, bytes(len(good))] = signer",
    ),
    Fault(
        "signatures are not verified",
        "signers.py",
        "if not signer.identity.verify(signed.message, signed.signature):",
        "if not signed.signature:",
    ),
    Fault(
        "invalid members count",
        "signers.py",
        "if signer.identity.refusal is None)",
        "if True)",
    ),
    Fault(
        "one signature fewer is enough",
        "signature_policies.py",
        "return satisfied >= rule.n",
        "return satisfied >= rule.n - 1",
    ),
    Fault(
        "a signer satisfies several rules",
        "signature_policies.py",
        "if not used[index] and satisfies",
        "if satisfies",
    ),
    Fault(
        "a rule that fails keeps its signers",
        "signature_policies.py",
        "attempt = used.copy()",
        "attempt = used",
    ),
    Fault(
        "a negative number of signatures is demanded",
        "signature_policies.py",
        "if rule.n_out_of.n < 0:",
        "if False:",
    ),
    Fault(
        "half of the organisations are a majority",
        "policies.py",
        "len(groups) // 2 + 1",
        "max(1, len(groups) // 2)",
    ),
    Fault("any of the organisations are all", "policies.py", "ALL: len(groups)", "ALL: 1"),
    Fault(
        "the value of a block is not signed",
        "block_signatures.py",
        "return Signed(creator, value + item.signature_header + header, item.signature)",
        "return Signed(creator, item.signature_header + header, item.signature)",
    ),
    Fault(
        "a policy that demands nothing is proof",
        "block_signatures.py",
        "if signers.members:",
        "if True:",
    ),
    Fault(
        "only the first endorser counts",
        "envelope_parts.py",
        "endorsements[: MAX_SIGNATURES + 1]",
        "endorsements[:1]",
    ),
    Fault(
        "any transaction id is accepted",
        "envelope_parts.py",
        "if channel.tx_id != transaction_id(signature.nonce, signature.creator):",
        "if False:",
    ),
    Fault(
        "any proposal is accepted",
        "envelope_parts.py",
        "response.proposal_hash != sha256(proposal).digest()",
        "False",
    ),
    Fault(
        "the creator needs no signature",
        "envelopes.py",
        "if not identity.verify(parts.payload, parts.signature):",
        "if not parts.signature:",
    ),
    Fault(
        "the creator needs no valid certificate",
        "envelopes.py",
        "if identity.refusal is not None:",
        "if False:",
    ),
    Fault(
        "only the policy of the invoked chaincode counts",
        "endorsement_policies.py",
        "if namespace.writes_public or namespace.written_collections:",
        "if namespace.name == transaction.chaincode:",
    ),
    Fault(
        "keys with policies of their own are ordinary",
        "endorsement_policies.py",
        "collections, has_own_policies = definitions.ordinary_writes(writes)",
        "collections, has_own_policies = ChaincodeDefinitions().ordinary_writes(writes)",
    ),
    Fault(
        "what cannot be checked hides what is invalid",
        "verdicts.py",
        "for result in (Result.INVALID, Result.NOT_CHECKED):",
        "for result in (Result.NOT_CHECKED, Result.INVALID):",
    ),
    Fault(
        "collections with policies of their own are ordinary",
        "endorsement_policies.py",
        "if has_own_policy:",
        "if False:",
    ),
    Fault(
        "invalid transactions change definitions",
        "envelopes.py",
        "if code == VALID_CODE]",
        "if code is not None]",
    ),
]


def run(folder: Path, fault: Fault | None) -> subprocess.CompletedProcess[str]:
    """Run the tests in a copy of the packages that they need, up to the first that fails."""
    for name in _PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "ledgers", "recorded", "compiled_corpus")
        shutil.copytree(_ROOT / name, folder / name, ignore=ignored)
    for link in ("tests/fixtures/ledgers", "devnet/recorded"):
        (folder / link).symlink_to(_ROOT / link)
    (folder / "pytest.ini").write_text(_SETTINGS)
    if fault is not None:
        fault.apply(folder / "ledger" / "trust")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *_OPTIONS, *_TESTS],
        cwd=folder,
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tests_pass_without_a_fault(tmp_path: Path) -> None:
    done = run(tmp_path, None)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_tests_find_a_fault(fault: Fault, tmp_path: Path) -> None:
    done = run(tmp_path, fault)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
