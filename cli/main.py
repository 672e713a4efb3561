"""The entry point of the command `kindledger`."""

from runtime.process_start import prepare_libraries


def main() -> None:
    """Prepare the libraries, then run the command line."""
    prepare_libraries()
    # The commands import gRPC, which must be prepared before its import.
    from cli.command_line import kindledger  # noqa: PLC0415

    kindledger()


if __name__ == "__main__":
    main()
