from collections.abc import Callable

from ledger.state_changes import Write

def split_block(
    data: bytes | memoryview,
) -> tuple[int, bytes, bytes, tuple[bytes, ...], tuple[bytes, ...]] | None: ...
def claimed_ids(envelope: bytes) -> tuple[str, str] | None: ...

class TransactionEncoder:
    def __init__(
        self,
        *,
        statuses: list[bytes],
        type_name: bytes,
        format: int,  # noqa: A002
        max_writes: int,
        identity: Callable[[bytes], tuple[str, bytes] | None],
        payload: Callable[[bytes], bytes],
        hash_key: bytes,
    ) -> None: ...
    def encode(
        self,
        number: int,
        envelopes: tuple[bytes, ...],
        codes: bytes,
        owns: list[bool],
        digests: bytes,
        reference: Callable[[int], tuple[bytes, bytes | None]],
    ) -> tuple[bytes, bytes, int, list[str], list[str], list[int], bytes | list[Write] | None]: ...
    def take_writes(self) -> list[Write]: ...
