// Requests blocks from a peer's Deliver service over mutual TLS.
import { createPrivateKey, randomBytes, sign, X509Certificate } from "node:crypto";

import grpc from "@grpc/grpc-js";

import { derInteger, derSequence, sha256 } from "./hashes.mjs";

const MAX_MESSAGE_BYTES = 100 << 20;
const DELIVER_SEEK_INFO = 5;
const SUCCESS = 200;
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

// Yields the blocks `request.first` to `request.last` of `request.channel`.
export async function* deliveredBlocks(address, certificates, messages, request) {
  const { authority, tlsKey, tlsCertificate } = certificates;
  const client = new grpc.Client(
    address,
    grpc.credentials.createSsl(authority, tlsKey, tlsCertificate),
    { "grpc.max_receive_message_length": MAX_MESSAGE_BYTES },
  );
  const call = client.makeBidiStreamRequest(
    "/protos.Deliver/Deliver",
    (envelope) => Buffer.from(messages.Envelope.encode(envelope).finish()),
    (bytes) => messages.DeliverResponse.decode(bytes),
  );
  try {
    call.write(seekEnvelope(certificates, messages, request));
    for await (const response of call) {
      if (response.block) {
        yield response.block;
      } else if (response.status === SUCCESS) {
        return;
      } else {
        throw new Error(`the peer ended the stream with status ${response.status}`);
      }
    }
    throw new Error("the peer ended the stream before the last block");
  } finally {
    call.cancel();
    client.close();
  }
}

function seekEnvelope(certificates, messages, { channel, first, last }) {
  const seek = {
    start: { specified: { number: first } },
    stop: { specified: { number: last } },
  };
  const now = Date.now();
  const channelHeader = {
    type: DELIVER_SEEK_INFO,
    channelId: channel,
    timestamp: { seconds: Math.floor(now / 1000), nanos: (now % 1000) * 1e6 },
    tlsCertHash: sha256(new X509Certificate(certificates.tlsCertificate).raw),
  };
  const creator = { mspid: "Org1MSP", idBytes: certificates.certificate };
  const signatureHeader = {
    creator: messages.SerializedIdentity.encode(creator).finish(),
    nonce: randomBytes(24),
  };
  const payload = messages.Payload.encode({
    header: {
      channelHeader: messages.ChannelHeader.encode(channelHeader).finish(),
      signatureHeader: messages.SignatureHeader.encode(signatureHeader).finish(),
    },
    data: messages.SeekInfo.encode(seek).finish(),
  }).finish();
  return { payload, signature: lowSSignature(payload, createPrivateKey(certificates.key)) };
}

// Fabric accepts only the one of the two valid signatures whose S is at most half of the order.
function lowSSignature(message, key) {
  const signature = sign("sha256", message, { key, dsaEncoding: "ieee-p1363" });
  const r = BigInt(`0x${signature.toString("hex", 0, 32)}`);
  const s = BigInt(`0x${signature.toString("hex", 32)}`);
  return derSequence(derInteger(r), derInteger(s > P256_ORDER / 2n ? P256_ORDER - s : s));
}
