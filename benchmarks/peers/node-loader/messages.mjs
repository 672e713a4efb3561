// Loads the message types of Fabric's wire format from the project's .proto files.
import { join } from "node:path";

import protobuf from "protobufjs";

const FILES = ["events", "orderer", "kvrwset", "rwset", "msp"];
const TYPES = [
  "common.Envelope",
  "common.Payload",
  "common.ChannelHeader",
  "common.SignatureHeader",
  "common.Metadata",
  "common.OrdererBlockMetadata",
  "common.IdentifierHeader",
  "msp.SerializedIdentity",
  "orderer.SeekInfo",
  "protos.DeliverResponse",
  "protos.Transaction",
  "protos.ChaincodeActionPayload",
  "protos.ChaincodeProposalPayload",
  "protos.ChaincodeInvocationSpec",
  "protos.ProposalResponsePayload",
  "protos.ChaincodeAction",
  "protos.ChaincodeEvent",
  "protos.ChaincodeHeaderExtension",
  "rwset.TxReadWriteSet",
  "kvrwset.KVRWSet",
  "kvrwset.HashedRWSet",
];

// Returns the types by their short names, and the names of validation codes and header types.
export async function loadMessages(folder) {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => join(folder, target);
  await root.load(FILES.map((name) => `protos/${name}.proto`));
  const types = TYPES.map((name) => [name.split(".")[1], root.lookupType(name)]);
  return {
    ...Object.fromEntries(types),
    statusNames: root.lookupEnum("protos.TxValidationCode").valuesById,
    typeNames: root.lookupEnum("common.HeaderType").valuesById,
  };
}
