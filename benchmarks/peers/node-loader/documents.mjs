// Decodes blocks into the documents of the three collections.
import { isUtf8 } from "node:buffer";
import { X509Certificate } from "node:crypto";

import { Long } from "mongodb";

import { derBytes, derInteger, derSequence, sha256 } from "./hashes.mjs";

const FORMAT = 2;
const VALID = 0;
const ENDORSER_TRANSACTION = 3;
const BLOCK_POSITIONS = 2 ** 20;
const [SIGNATURES, TRANSACTIONS_FILTER, COMMIT_HASH] = [0, 2, 4];
const identities = new Map();

// Returns { transactions, events, block }: the documents of a `common.Block`.
export function blockDocuments(messages, block) {
  const number = block.header.number.toNumber();
  const codes = block.metadata.metadata[TRANSACTIONS_FILTER];
  const decoded = block.data.data.map((envelope, index) =>
    transactionDocuments(messages, envelope, { number, index, code: codes[index] }),
  );
  const transactions = decoded.map(({ transaction }) => transaction);
  const events = decoded.flatMap(({ event }) => (event ? [event] : []));
  return { transactions, events, block: blockDocument(messages, block, transactions, events) };
}

// Stores the position of a transaction in place of an id that is empty or belongs to another one.
export function withoutId(transaction) {
  return Object.assign(transaction, { claimedTxId: transaction.txId, txId: transaction._id });
}

function transactionDocuments(messages, envelope, { number, index, code }) {
  const position = Long.fromNumber(number * BLOCK_POSITIONS + index);
  const transaction = {
    _id: position,
    txId: "",
    status: messages.statusNames[code] ?? String(code),
    validationCode: code,
    chaincodeId: null,
    blockNumber: number,
    txIndex: index,
    type: null,
    ts: null,
    timestamp: null,
    creator: null,
    envelopeHash: sha256(envelope).toString("hex"),
    envelopeSize: envelope.length,
    format: FORMAT,
  };
  let event = null;
  try {
    event = addEnvelope(messages, transaction, envelope);
  } catch {
    transaction.errors = ["envelope"]; // a block can have any bytes as an envelope
  }
  if (transaction.txId === "") {
    withoutId(transaction);
  }
  return { transaction, event };
}

// Adds the fields of the envelope, and returns the document of its event or null.
function addEnvelope(messages, transaction, envelope) {
  const payload = messages.Payload.decode(messages.Envelope.decode(envelope).payload);
  const header = messages.ChannelHeader.decode(payload.header.channelHeader);
  const { creator } = messages.SignatureHeader.decode(payload.header.signatureHeader);
  transaction.txId = header.txId;
  transaction.type = messages.typeNames[header.type] ?? String(header.type);
  if (header.timestamp) {
    transaction.ts = date(header.timestamp);
    transaction.timestamp = timestamp(header.timestamp);
  }
  if (creator.length > 0) {
    transaction.creator = identity(messages, creator);
  }
  return header.type === ENDORSER_TRANSACTION
    ? addAction(messages, transaction, header, payload.data)
    : null;
}

// Adds the fields of the first action, and returns the document of its event or null.
function addAction(messages, transaction, header, data) {
  const [{ payload }] = messages.Transaction.decode(data).actions;
  const { chaincodeProposalPayload, action } = messages.ChaincodeActionPayload.decode(payload);
  const proposal = messages.ChaincodeProposalPayload.decode(chaincodeProposalPayload);
  const invocation = messages.ChaincodeInvocationSpec.decode(proposal.input);
  const args = invocation.chaincodeSpec.input.args.map(textOrBinary);
  const endorsed = messages.ProposalResponsePayload.decode(action.proposalResponsePayload);
  const { chaincodeId, response, results, events } = messages.ChaincodeAction.decode(
    endorsed.extension,
  );
  const extension = messages.ChaincodeHeaderExtension.decode(header.extension);
  transaction.chaincodeId = chaincodeId?.name || extension.chaincodeId?.name || null;
  transaction.chaincodeVersion = chaincodeId?.version ?? null;
  transaction.endorsers = action.endorsements.map(({ endorser }) => identity(messages, endorser));
  transaction.function = args.length > 0 ? args[0] : null;
  transaction.args = args.slice(1);
  transaction.response = response
    ? {
        status: response.status,
        message: response.message,
        payload: textOrBinary(response.payload),
      }
    : null;
  transaction.rwsets = messages.TxReadWriteSet.decode(results).nsRwset.map((set) =>
    readWriteSet(messages, set),
  );
  if (events.length === 0) {
    return null;
  }
  const event = eventFields(messages.ChaincodeEvent.decode(events));
  if (transaction.validationCode !== VALID) {
    transaction.event = event; // Fabric delivers the events of valid transactions only
    return null;
  }
  const { _id, txId, blockNumber, txIndex, ts } = transaction;
  return { _id, txId, ...event, blockNumber, txIndex, ts, format: FORMAT };
}

function eventFields({ chaincodeId, eventName, payload }) {
  const content = textOrBinary(payload);
  const fields = { chaincodeId, eventName };
  if (typeof content !== "string") {
    return { ...fields, payload: content, payloadEncoding: "binary" };
  }
  try {
    const parsed = JSON.parse(content);
    if (typeof parsed === "object" && parsed !== null) {
      return { ...fields, payload: parsed, payloadEncoding: "json" };
    }
  } catch {
    // Payloads that are not JSON are stored as text.
  }
  return { ...fields, payload: content, payloadEncoding: "text" };
}

function readWriteSet(messages, { namespace, rwset, collectionHashedRwset }) {
  const { reads, writes } = messages.KVRWSet.decode(rwset);
  const document = {
    namespace,
    reads: reads.map(({ key, version }) => ({ key, version: versionOf(version) })),
    writes: writes.map(({ key, value, isDelete }) =>
      isDelete ? { key, isDelete } : { key, value: textOrBinary(value), isDelete },
    ),
  };
  if (collectionHashedRwset.length > 0) {
    document.collections = collectionHashedRwset.map((set) => collection(messages, set));
  }
  return document;
}

function collection(messages, { collectionName, hashedRwset, pvtRwsetHash }) {
  const { hashedReads, hashedWrites } = messages.HashedRWSet.decode(hashedRwset);
  return {
    collection: collectionName,
    reads: hashedReads.map(({ keyHash, version }) => ({
      keyHash: keyHash.toString("hex"),
      version: versionOf(version),
    })),
    writes: hashedWrites.map(({ keyHash, valueHash, isDelete, isPurge }) => ({
      keyHash: keyHash.toString("hex"),
      valueHash: valueHash.toString("hex") || null,
      isDelete,
      isPurge,
    })),
    hash: pvtRwsetHash.toString("hex") || null,
  };
}

function blockDocument(messages, { header, metadata, data }, transactions, events) {
  const number = header.number.toNumber();
  const { previousHash, dataHash } = header;
  const der = derSequence(derInteger(number), derBytes(previousHash), derBytes(dataHash));
  const [signatures, commitHash] = [SIGNATURES, COMMIT_HASH].map((index) =>
    messages.Metadata.decode(metadata.metadata[index] ?? Buffer.alloc(0)),
  );
  const { lastConfig } = messages.OrdererBlockMetadata.decode(signatures.value);
  return {
    _id: number,
    number,
    blockHash: sha256(der).toString("hex"),
    previousHash: previousHash.toString("hex"),
    dataHash: dataHash.toString("hex"),
    commitHash: commitHash.value.toString("hex") || null,
    transactionCount: transactions.length,
    validCount: transactions.filter(({ validationCode }) => validationCode === VALID).length,
    eventCount: events.length,
    ts: medianTime(transactions),
    size: data.data.reduce((size, envelope) => size + envelope.length, 0),
    validationCodes: metadata.metadata[TRANSACTIONS_FILTER],
    lastConfig: lastConfig ? lastConfig.index.toNumber() : null,
    signers: signatures.signatures.map((signature) => signer(messages, signature)),
    sums: {
      statuses: counts(transactions, ({ status }) => status),
      types: counts(transactions, ({ type }) => type),
      chaincodes: counts(transactions, ({ chaincodeId }) => chaincodeId),
      organisations: counts(transactions, ({ creator }) => creator?.mspId ?? null),
    },
    format: FORMAT,
  };
}

// With SmartBFT a signature names its signer by a number of the channel's configuration.
function signer(messages, { identifierHeader, signatureHeader }) {
  return identifierHeader.length > 0
    ? { consenterId: messages.IdentifierHeader.decode(identifierHeader).identifier }
    : identity(messages, messages.SignatureHeader.decode(signatureHeader).creator);
}

function medianTime(transactions) {
  const times = transactions.flatMap(({ ts }) => (ts ? [ts] : [])).sort((a, b) => a - b);
  return times.length > 0 ? times[(times.length - 1) >> 1] : null;
}

function counts(transactions, nameOf) {
  const found = new Map();
  for (const transaction of transactions) {
    const name = nameOf(transaction);
    found.set(name, (found.get(name) ?? 0) + 1);
  }
  return [...found].map(([name, count]) => ({ name, count }));
}

// The same few identities occur in all transactions.
function identity(messages, serialized) {
  const key = serialized.toString("latin1");
  let document = identities.get(key);
  if (!document) {
    const { mspid, idBytes } = messages.SerializedIdentity.decode(serialized);
    const certificate = new X509Certificate(idBytes);
    document = {
      mspId: mspid,
      subject: certificate.subject.split("\n").reverse().join(","),
      fingerprint: sha256(certificate.raw).toString("hex"),
    };
    identities.set(key, document);
  }
  return document;
}

function versionOf(version) {
  return version ? { block: version.blockNum.toNumber(), tx: version.txNum.toNumber() } : null;
}

// protobufjs represents an empty field by an empty array.
function textOrBinary(bytes) {
  if (bytes.length === 0) {
    return "";
  }
  return isUtf8(bytes) ? bytes.toString("utf8") : bytes;
}

function date({ seconds, nanos }) {
  return new Date(seconds.toNumber() * 1000 + Math.floor(nanos / 1e6));
}

function timestamp({ seconds, nanos }) {
  return { seconds: seconds.toNumber(), nanos };
}
