"""The rows of the business application: complete, mostly on time, and with all mistakes."""

from collections import Counter
from decimal import Decimal
from itertools import islice

from devnet.application.scheduled_rows import MAX_DELAY_BLOCKS, Mistake, mistake_of
from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.forge.gateway import Submission
from protos.transaction_pb2 import VALID
from tests.devnet.business_database import (
    CHAIN,
    HEIGHT,
    NOW,
    TYPES,
    Database,
    business_transactions,
    running_application,
    wait_until_written,
)


async def test_every_business_transaction_has_its_rows(
    business_database: str, database: Database
) -> None:
    async with running_application(business_database, CHAIN) as application:
        await wait_until_written(application)
    transactions, donations = (
        await database.table("transactions", "tx_hash"),
        await database.donations(),
    )
    campaigns = await database.table("campaigns", "id")
    submitted = business_transactions(CHAIN[: HEIGHT + 1])
    for tx_id, (_, submission) in submitted.items():
        if mistake_of(submission):
            continue
        row, function, args = transactions[tx_id], submission.function, submission.args
        amount = None if function in {"CreateCampaign", "UpdateStatus"} else Decimal(args[-1])
        assert tuple(row[c] for c in ("transaction_type", "campaign_id", "amount")) == (
            TYPES[function],
            args[0],
            amount,
        )
        assert (row["status"], row["block_number"]) == ("PENDING", None)
        if TYPES[function] == "DONATE":
            row = donations[tx_id]
            assert tuple(row[c] for c in ("campaign_id", "donor_name", "amount")) == (
                args[0],
                args[1],
                amount,
            )
            assert row["status"] == "PENDING"
        if function == "CreateCampaign":
            row = campaigns[args[0]]
            assert (row["name"], row["goal_amount"], row["blockchain_tx_hash"]) == (
                args[1],
                Decimal(args[2]),
                tx_id,
            )
    assert Counter(row["transaction_type"] for row in transactions.values()).keys() == set(
        TYPES.values()
    )
    assert transactions.keys() <= business_transactions(CHAIN).keys()
    spellings = {row["blockchain_tx_hash"] for row in donations.values()} - submitted.keys()
    assert any(written.startswith("0x") for written in spellings)
    assert any(written.isupper() for written in spellings)


async def test_every_mistake_is_made(business_database: str, database: Database) -> None:
    async with running_application(business_database, CHAIN) as application:
        await wait_until_written(application)
    transactions, donations = (
        await database.table("transactions", "tx_hash"),
        await database.donations(),
    )
    by_reference = await database.table("donations", "payment_reference")
    mistakes = set()
    for tx_id, (number, submission) in business_transactions(CHAIN[: HEIGHT + 1]).items():
        mistake = mistake_of(submission)
        reference = f"pay-{tx_id[:12]}"
        mistakes.add((mistake, submission.code == VALID))
        match mistake:
            case Mistake.OTHER_AMOUNT:
                assert (
                    donations[tx_id]["amount"]
                    > Decimal(submission.args[2])
                    == transactions[tx_id]["amount"]
                )
            case Mistake.CONFIRMED_BY_HAND:
                assert transactions[tx_id]["status"] == "CONFIRMED"
                assert transactions[tx_id]["block_number"] != number
            case Mistake.NEVER_SUBMITTED:
                written = by_reference[reference]["blockchain_tx_hash"]
                assert len(written) == 64
                assert written not in business_transactions(CHAIN)
            case Mistake.PAYMENT_REFERENCE:
                assert by_reference[reference]["blockchain_tx_hash"] == reference
            case Mistake.NO_ROW:
                assert tx_id not in transactions
                assert reference not in by_reference
    assert mistakes >= {(mistake, True) for mistake in Mistake} | {
        (Mistake.CONFIRMED_BY_HAND, False)
    }


def test_mistakes_are_rare_on_an_everyday_network() -> None:
    blocks = tuple(islice(forge(Recipe(hostile_share=0.005, signed=False)), 600))
    mistakes = [
        tx_id
        for tx_id, (_, submission) in business_transactions(blocks).items()
        if mistake_of(submission)
    ]
    assert 600 / 60 < len(mistakes) < 600 / 15


async def test_most_rows_precede_their_block_and_the_others_follow_soon(
    business_database: str, database: Database
) -> None:
    newest = 30
    without_mistake = {
        tx_id
        for tx_id, (_, each) in business_transactions([CHAIN[newest]]).items()
        if not mistake_of(each)
    }
    donations = {
        tx_id
        for tx_id, (_, each) in business_transactions([CHAIN[newest]]).items()
        if TYPES[each.function] == "DONATE"
    } & without_mistake

    async with running_application(business_database, CHAIN[: newest + 1]) as application:
        await wait_until_written(application)
        early = without_mistake & (await database.table("transactions", "tx_hash")).keys()
        assert len(without_mistake) > len(early) > len(without_mistake) / 2
        hashed = donations & (await database.donations()).keys()
        assert len(donations) > len(hashed) > len(donations) / 3

        for block in CHAIN[newest + 1 : newest + 1 + MAX_DELAY_BLOCKS]:
            application.submit(block, NOW)
        await wait_until_written(application)
        assert without_mistake <= (await database.table("transactions", "tx_hash")).keys()
        assert donations <= (await database.donations()).keys()


async def test_donations_to_a_campaign_without_a_row_do_not_stop_other_rows(
    business_database: str, database: Database
) -> None:
    ids = ("ab" * 32, "cd" * 32)
    submissions = [
        Submission(b"", VALID, tx_id, "kindledger", "Donate", ("nowhere", "Ai đó", "1000"))
        for tx_id in ids
    ]
    assert not any(map(mistake_of, submissions))
    async with running_application(
        business_database, [ForgedBlock(number, b"", tuple(submissions)) for number in range(5)]
    ) as application:
        await wait_until_written(application)
    transactions = await database.table("transactions", "tx_hash")
    assert {tx_id: row["campaign_id"] for tx_id, row in transactions.items()} == dict.fromkeys(ids)
    assert not await database.donations()
