// Creates the roles and users of mongo-roles.json, or updates existing ones. Run it as a user that
// may manage users:
//
//   mongosh "mongodb://admin@HOST:27017/admin?replicaSet=NAME" --file config/mongo-roles.js
//
// The passwords are read from MONGO_INDEXER_PASSWORD, MONGO_REPAIR_PASSWORD and MONGO_API_PASSWORD;
// mongosh asks for a password that is not set. The daemon, `import` and `verify` use
// kindledger_indexer, which can add documents to the ledger but can neither change nor delete them.
// (It updates the progress in sync_state and the inventory in certificates, which are no part of it.)
// `repair --apply` uses kindledger_repair, which can change and delete them, and can only add to the
// records of repairs. `api` uses kindledger_api, which can only read. All are users of the database admin. The privilege inprog shows the daemon how far
// the builds of its indexes are; without it, the daemon works and does not know the time left.

const fs = require("fs");
const path = require("path");

const definitions = JSON.parse(fs.readFileSync(path.join(__dirname, "mongo-roles.json"), "utf8"));
const admin = db.getSiblingDB("admin");

for (const { role, privileges, roles } of definitions.roles) {
  if (admin.getRole(role) === null) {
    admin.createRole({ role, privileges, roles });
  } else {
    admin.updateRole(role, { privileges, roles });
  }
  print(`role ${role} is up to date`);
}

for (const { user, roles, passwordVariable } of definitions.users) {
  print(`user ${user}: password from ${process.env[passwordVariable] ? passwordVariable : "the terminal"}`);
  const pwd = process.env[passwordVariable] || passwordPrompt();
  if (admin.getUser(user) === null) {
    admin.createUser({ user, pwd, roles });
  } else {
    admin.updateUser(user, { pwd, roles });
  }
}
