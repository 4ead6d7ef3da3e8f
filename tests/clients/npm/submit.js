// Submits over a pool of two connections, as an application does: three messages, one refused
// recipient, one wrong password. Exits with 1 when anything is answered otherwise than it should be.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const nodemailer = require(`${process.env.NODE_MODULES}/nodemailer`);

const { SENDER, RECIPIENT, PASSWORD, SUBMISSIONS, SUBMISSION, AUTHORITY } = process.env;
const tls = { ca: fs.readFileSync(AUTHORITY) };
const auth = { user: SENDER, pass: PASSWORD };
const letter = { from: SENDER, to: RECIPIENT, text: "Buongiorno. Perché no?\n.\n..\n" };

async function main() {
  const pool = nodemailer.createTransport({
    host: "localhost", port: Number(SUBMISSIONS), secure: true, pool: true, maxConnections: 2, auth, tls,
  });
  const sent = await Promise.all(
    [1, 2, 3].map((number) => pool.sendMail({ ...letter, subject: `Prova ${number} è` })),
  );
  for (const { accepted, rejected, response } of sent) {
    assert.deepStrictEqual([accepted, rejected], [[RECIPIENT], []]);
    assert.match(response, /^250 2\.0\.0 taken as /);
  }
  pool.close();

  const one = nodemailer.createTransport({
    host: "localhost", port: Number(SUBMISSION), requireTLS: true, auth, tls,
  });
  await assert.rejects(
    one.sendMail({ ...letter, envelope: { from: RECIPIENT, to: [RECIPIENT] } }),
    (error) => error.responseCode === 553 && error.command === "MAIL FROM",
  );
  const wrong = nodemailer.createTransport({
    host: "localhost", port: Number(SUBMISSION), requireTLS: true, auth: { ...auth, pass: "wrong" }, tls,
  });
  await assert.rejects(wrong.sendMail(letter), (error) => error.responseCode === 535);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
