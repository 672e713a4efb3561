"""The limits of the work that a configuration or an envelope can cause.

Beyond a limit the verdict is `not_checked`. Real networks stay far below all of them.
"""

MAX_CERTIFICATE_BYTES = 1 << 16
"""The most bytes of a certificate or an identity; a certificate has about 800."""

MAX_CACHED_IDENTITY_BYTES = 1 << 13
MAX_CACHED_IDENTITIES = 4096
"""Identities that are remembered for each MSP: together they take at most 32 MiB."""

MAX_MSP_CERTIFICATES = 1_000
"""The most certificates and revocation lists of an MSP: setting it up takes below a second."""

MAX_CHANNEL_CERTIFICATES = 5_000
"""The most certificates and revocation lists of all MSPs of a channel."""

MAX_REVOCATION_LIST_BYTES = 1 << 23
"""The most bytes of a certificate revocation list: about 200,000 revoked certificates."""

MAX_CHAIN_SIGNATURES = 100
"""The most signatures that are verified to find the chain of a certificate, as in Go's library."""

MAX_POLICIES = 10_000
"""The most policies of a channel configuration."""

MAX_POLICY_RULES = 4_096
"""The most rules and the most principals of a signature policy."""

MAX_EVALUATED_RULES = 100_000
"""The most rules that one evaluation visits, over all policies that an implicit policy names."""

MAX_COMBINED_PRINCIPALS = 64
MAX_COMBINED_DEPTH = 8
"""The most parts, and the deepest nesting, of a combined principal."""

MAX_SIGNATURES = 256
"""The most signatures of a block, or endorsements of a transaction: each costs 0.1 ms."""

MAX_SIGNATURES_BYTES = 1 << 20
"""The most bytes of a block's signatures; a signature has about 1,000."""

MAX_SIGNED_BYTES = 1 << 28
"""The most bytes that the endorsers of a transaction sign together: they take a second to hash."""

MAX_NAMESPACES = 1_000
"""The most namespaces and collections that a transaction reads or writes."""

MAX_REMEMBERED_PRINCIPALS = 256
"""The most principals of which an identity remembers whether it satisfies them."""

MAX_CACHED_POLICY_BYTES = 1 << 16
"""The longest policy that is remembered in its compiled form; a policy has about 100 bytes."""

MAX_KEYS_WITH_POLICY = 10_000
"""The most keys with an endorsement policy of their own that are remembered by name.

With more, every key of their chaincodes counts as a key with a policy of its own.
"""

MAX_CHAINCODES = 10_000
"""The most chaincode definitions that are remembered."""
