// Creates the roles and users of mongo-roles.json, or brings existing ones up to date. On the primary, as a user who
// may manage users:
//
//   mongosh "mongodb://admin@HOST:27017/admin?replicaSet=NAME" --file config/mongo-roles.js
//
// Passwords come from MONGO_INDEXER_PASSWORD and MONGO_API_PASSWORD; where one is not set, mongosh asks for it.
// The daemon, `import` and `verify` use kindledger_indexer, which can add to the ledger but neither change nor delete
// what is there; `api` uses kindledger_api, which can only read. Both are users of the database admin.

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
  print(`role ${role} is in place`);
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
