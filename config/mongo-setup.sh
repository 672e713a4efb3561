#!/usr/bin/env bash
# Used by docker-compose.yml: initiates the replica set, then creates roles and users. It can be run
# again at any time.
set -euo pipefail
password() { cat "/run/secrets/mongo_$1_password"; }
MONGO_ROOT_PASSWORD=$(password root)
MONGO_INDEXER_PASSWORD=$(password indexer)
MONGO_REPAIR_PASSWORD=$(password repair)
MONGO_API_PASSWORD=$(password api)
export MONGO_ROOT_PASSWORD MONGO_INDEXER_PASSWORD MONGO_REPAIR_PASSWORD MONGO_API_PASSWORD MONGO_HOST

# Passwords are passed in the environment, because every process can read command lines.
mongosh --quiet --nodb --eval '
  const { MONGO_HOST: host, MONGO_ROOT_PASSWORD: password } = process.env;
  const login = `root:${encodeURIComponent(password)}`;
  const admin = new Mongo(`mongodb://${login}@${host}:27017/?directConnection=true`).getDB("admin");
  try {
    admin.runCommand({ replSetGetStatus: 1 });
  } catch (error) {
    if (error.codeName !== "NotYetInitialized") throw error;
    admin.runCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: `${host}:27017` }] } });
  }
  while (!admin.hello().isWritablePrimary) sleep(200);
  db = admin;
  load("/setup/mongo-roles.js");
'
