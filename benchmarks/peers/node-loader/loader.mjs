// Loads blocks of a channel from a Fabric peer into MongoDB, and prints one line of JSON with the
// seconds, the peak memory and the number of transactions. README.md describes the options.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { MongoBulkWriteError, MongoClient } from "mongodb";

import { blockDocuments, withoutId } from "./documents.mjs";
import { loadMessages } from "./messages.mjs";
import { deliveredBlocks } from "./peer.mjs";

const DATABASE = "bench";
const BATCH = 1000;
const PARALLEL_BATCHES = 2;
const DUPLICATE_KEY = 11000;
const COLLECTIONS = ["transactions_ledger", "chaincode_events"];

const options = parseArgs({
  options: Object.fromEntries(
    ["uri", "port", "channel", "tls", "identity", "first", "height", "indexes", "protos"].map(
      (name) => [name, { type: "string" }],
    ),
  ),
}).values;

async function createIndexes(database) {
  const indexes = JSON.parse(await readFile(options.indexes, "utf8"));
  for (const [collection, specifications] of Object.entries(indexes)) {
    await database.command({ createIndexes: collection, indexes: specifications });
  }
}

function emptyBatch() {
  return { transactions_ledger: [], chaincode_events: [], blocks: [] };
}

// The documents of blocks come last and in the order of the batches: a reader that sees a block sees
// its transactions and all earlier blocks.
async function insert(database, batch, previousInsertion) {
  await Promise.all(COLLECTIONS.map((name) => insertInto(database, name, batch[name])));
  await previousInsertion;
  await insertInto(database, "blocks", batch.blocks);
}

async function insertInto(database, name, documents) {
  if (documents.length === 0) {
    return;
  }
  try {
    await database.collection(name).insertMany(documents, { ordered: false });
  } catch (error) {
    if (!(error instanceof MongoBulkWriteError) || error.code !== DUPLICATE_KEY) {
      throw error;
    }
    // Ids are not unique on a Fabric ledger: an earlier transaction has this id.
    const duplicates = [error.writeErrors].flat().map(({ index }) => documents[index]);
    await database.collection(name).insertMany(duplicates.map(withoutId));
  }
}

async function load(database) {
  const messages = await loadMessages(options.protos);
  const certificates = await readCertificates();
  const [first, height] = [Number(options.first), Number(options.height)];
  const request = { channel: options.channel, first, last: height - 1 };
  let transactions = 0;
  let batch = emptyBatch();
  const insertions = []; // those that run, oldest first
  const startInsertion = async () => {
    if (insertions.length === PARALLEL_BATCHES) {
      await insertions.shift();
    }
    const insertion = insert(database, batch, insertions.at(-1));
    insertion.catch(() => {}); // the statement that waits for the insertion reports its error
    insertions.push(insertion);
    batch = emptyBatch();
  };
  const address = `localhost:${options.port}`;
  for await (const block of deliveredBlocks(address, certificates, messages, request)) {
    const documents = blockDocuments(messages, block);
    batch.transactions_ledger.push(...documents.transactions);
    batch.chaincode_events.push(...documents.events);
    batch.blocks.push(documents.block);
    transactions += documents.transactions.length;
    if (batch.transactions_ledger.length >= BATCH) {
      await startInsertion();
    }
  }
  await startInsertion();
  await Promise.all(insertions);
  return transactions;
}

async function readCertificates() {
  const files = {
    authority: join(options.tls, "ca.pem"),
    tlsCertificate: join(options.tls, "client.pem"),
    tlsKey: join(options.tls, "client.key"),
    certificate: join(options.identity, "cert.pem"),
    key: join(options.identity, "key.pem"),
  };
  const contents = await Promise.all(
    Object.entries(files).map(async ([name, path]) => [name, await readFile(path)]),
  );
  return Object.fromEntries(contents);
}

async function main() {
  const client = new MongoClient(options.uri, { writeConcern: { w: "majority", journal: true } });
  try {
    await client.connect();
    const database = client.db(DATABASE);
    await database.dropDatabase();
    const began = performance.now();
    await createIndexes(database);
    const transactions = await load(database);
    const seconds = (performance.now() - began) / 1000;
    const peakMb = Math.round(process.resourceUsage().maxRSS / 102.4) / 10;
    console.log(JSON.stringify({ seconds, peak_mb: peakMb, transactions }));
  } finally {
    await client.close();
  }
}

try {
  await main();
} catch (error) {
  console.error(`The ledger was not loaded: ${error.message}`);
  process.exitCode = 1;
}
