"""Compresses serialized blocks: each block is one frame of zstd."""

from typing import Final, cast

from runtime.zstd import zstd

MAX_BLOCK_BYTES: Final = 1 << 30
"""The size of the largest block that is decompressed. A peer accepts messages of 100 MB."""

_LEVEL: Final = -1
"""Level 3 takes nearly twice the time for blocks that are a twelfth smaller."""
_MAX_FRAME_HEADER_BYTES: Final = 18


class FrameError(Exception):
    """Bytes that are not one whole frame; the message says what they are."""


class BlockCompressor:
    """Compresses one block after the other; it must not be used by two threads at a time."""

    def __init__(self) -> None:
        self._zstd = zstd.ZstdCompressor(_LEVEL)

    def compress(self, block_bytes: bytes | memoryview) -> bytes:
        """Return the frame of a serialized block. It states the block's size."""
        return self._zstd.compress(block_bytes, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress(frame: bytes) -> bytes:
    """Return the serialized block in a frame.

    Raises `FrameError` for anything but one whole frame of a block within `MAX_BLOCK_BYTES`. The
    memory is bounded by the size that the frame states.
    """
    try:
        info = zstd.get_frame_info(frame[:_MAX_FRAME_HEADER_BYTES])
        size = cast("int | None", info.decompressed_size)
        if size is None or size > MAX_BLOCK_BYTES:
            stated = "no size" if size is None else f"{size:,} bytes"
            raise FrameError(f"the frame states {stated}; a block has at most {MAX_BLOCK_BYTES:,}")
        decompressor = zstd.ZstdDecompressor()
        block_bytes = decompressor.decompress(frame, size + 1)
    except zstd.ZstdError as error:
        raise FrameError(f"not a frame of zstd: {error}") from error
    if len(block_bytes) != size or not decompressor.eof or decompressor.unused_data:
        raise FrameError("the frame is incomplete, or bytes follow it")
    return block_bytes
