// imapflow as applications use it: IMAP4rev2, UTF-8, QRESYNC and whatever else it enables by itself. Mailboxes, upload,
// download in pieces, flags, moving, search, events while it waits, and what it missed while it was away.
// Exits with 1 when anything is otherwise than it should be.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { once } = require("node:events");
const { ImapFlow } = require(`${process.env.NODE_MODULES}/imapflow`);

const { RECIPIENT, PASSWORD, IMAP, IMAPS, AUTHORITY, SAMPLES } = process.env;
const CITY = "Pratiche/Città & altre";
const DATE = new Date("2026-11-20T09:30:00Z");

const samples = new Map(
  fs.readdirSync(SAMPLES).sort().map((file) => [path.basename(file, ".eml"), fs.readFileSync(path.join(SAMPLES, file))]),
);

function make(more) {
  return new ImapFlow({
    host: "localhost", port: Number(IMAPS), secure: true, auth: { user: RECIPIENT, pass: PASSWORD },
    tls: { ca: fs.readFileSync(AUTHORITY) }, logger: false, qresync: true, ...more,
  });
}

async function connect(more) {
  const client = make(more);
  await client.connect();
  return client;
}

async function octets(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

// What `wanted` accepts of the events `name`, for at most 20 seconds.
async function heard(client, name, wanted) {
  const signal = AbortSignal.timeout(20_000);
  for (;;) {
    const [event] = await once(client, name, { signal });
    if (wanted(event)) return event;
  }
}

async function mailboxes(client) {
  const special = (await client.list()).filter((one) => one.specialUse).map((one) => [one.specialUse, one.path]);
  assert.deepStrictEqual(Object.fromEntries(special), {
    "\\Inbox": "INBOX", "\\Archive": "Archivio", "\\Drafts": "Bozze", "\\Junk": "Posta indesiderata",
    "\\Sent": "Inviati", "\\Trash": "Cestino",
  });
  assert.strictEqual((await client.mailboxCreate("Prova")).created, true);
  assert.strictEqual((await client.mailboxCreate("Prova")).created, false);
  assert.strictEqual((await client.mailboxRename("Prova", CITY)).newPath, CITY);
  await client.mailboxSubscribe(CITY);
  assert.ok((await client.list()).some((one) => one.path === CITY && one.subscribed));
}

// Every sample goes up, and comes down again in one piece and in many.
async function messages(client) {
  const uids = new Map();
  for (const [name, sample] of samples) {
    const { uid, uidValidity } = await client.append(CITY, sample, ["\\Seen", "$Importante"], DATE);
    assert.ok(uid > 0 && uidValidity > 0n);
    uids.set(name, uid);
  }
  const status = await client.status(CITY, { messages: true, unseen: true, uidNext: true, highestModseq: true });
  assert.deepStrictEqual([status.messages, status.unseen], [samples.size, 0]);
  const opened = await client.mailboxOpen(CITY);
  assert.strictEqual(opened.exists, samples.size);
  assert.deepStrictEqual([opened.uidNext, opened.highestModseq], [status.uidNext, status.highestModseq]);
  const names = new Map([...uids].map(([name, uid]) => [uid, name]));
  const wanted = { uid: true, flags: true, size: true, internalDate: true, source: true, envelope: true, bodyStructure: true };
  let count = 0;
  for await (const message of client.fetch("1:*", wanted)) {
    const sample = samples.get(names.get(message.uid));
    assert.ok(message.source.equals(sample), names.get(message.uid));
    assert.strictEqual(message.size, sample.length);
    assert.deepStrictEqual([...message.flags].filter((flag) => flag !== "\\Recent").sort(), ["$Importante", "\\Seen"]);
    assert.strictEqual(message.internalDate.getTime(), DATE.getTime());
    assert.strictEqual(message.envelope.messageId, `<${names.get(message.uid)}@campioni.example>`);
    count += 1;
  }
  assert.strictEqual(count, samples.size);
  for (const [name, sample] of samples) {
    const { meta, content } = await client.download(uids.get(name), undefined, { uid: true, chunkSize: 5_000 });
    assert.strictEqual(meta.expectedSize, sample.length);
    assert.ok((await octets(content)).equals(sample), name);
  }
  const { meta, content } = await client.download(uids.get("allegato"), "2", { uid: true });
  assert.strictEqual(meta.filename, "dati più grandi.bin");
  const attachment = await octets(content);
  assert.strictEqual(attachment.length, 120_000);
  const encoded = samples.get("allegato").toString("latin1").split("\r\n\r\n").at(-2);
  assert.ok(attachment.equals(Buffer.from(encoded, "base64")));
  return uids;
}

async function changes(client, uids) {
  const one = { uid: true };
  const flags = async (name) => [...(await client.fetchOne(uids.get(name), { flags: true }, one)).flags].sort();
  await client.messageFlagsAdd(uids.get("punti"), ["\\Flagged", "parola"], one);
  assert.deepStrictEqual(await flags("punti"), ["$Importante", "\\Flagged", "\\Seen", "parola"]);
  await client.messageFlagsRemove(uids.get("punti"), ["\\Seen", "parola"], one);
  await client.messageFlagsSet(uids.get("rotto"), ["\\Answered"], one);
  assert.deepStrictEqual([await flags("punti"), await flags("rotto")], [["$Importante", "\\Flagged"], ["\\Answered"]]);

  const found = async (query) => {
    const list = await client.search(query, one);
    return [...uids].filter(([, uid]) => list.includes(uid)).map(([name]) => name);
  };
  assert.deepStrictEqual(await found({ subject: "più" }), ["allegato", "otto-bit"]);
  assert.deepStrictEqual(await found({ larger: 100_000 }), ["allegato"]);
  assert.deepStrictEqual(await found({ flagged: true }), ["punti"]);
  assert.deepStrictEqual(await found({ or: [{ answered: true }, { header: { "message-id": "semplice@" } }] }), ["rotto", "semplice"]);
  assert.deepStrictEqual(await found({ seen: true, not: { keyword: "$Importante" } }), []);

  const moved = await client.messageMove(uids.get("annidato"), "Archivio", one);
  const copied = await client.messageCopy(uids.get("otto-bit"), "Archivio", one);
  for (const [name, { uidMap }] of [["annidato", moved], ["otto-bit", copied]]) {
    const there = uidMap.get(uids.get(name));
    const reader = await connect();
    await reader.mailboxOpen("Archivio", { readOnly: true });
    const message = await reader.fetchOne(there, { source: true, flags: true }, one);
    assert.ok(message.source.equals(samples.get(name)) && message.flags.has("$Importante"), name);
    await reader.logout();
  }
  uids.delete("annidato");
  await client.messageDelete(uids.get("senza-corpo"), one);
  uids.delete("senza-corpo");
  assert.deepStrictEqual(await client.search({ all: true }, one), [...uids.values()].sort((a, b) => a - b));
}

// Both wait: what one does reaches the other.
async function events(client, uids) {
  const other = await connect();
  await other.mailboxOpen(CITY);
  const waiting = client.idle();
  const exists = heard(client, "exists", (event) => event.count === uids.size + 1);
  const { uid } = await other.append(CITY, samples.get("annidato"));
  assert.strictEqual((await exists).path, CITY);
  const flagged = heard(client, "flags", (event) => event.flags.has("\\Flagged"));
  await other.messageFlagsAdd(uid, ["\\Flagged"], { uid: true });
  assert.strictEqual((await flagged).uid, uid);
  const expunged = heard(client, "expunge", (event) => event.uid === uid);
  await other.messageDelete(uid, { uid: true });
  await expunged;
  await client.noop();
  await waiting;
  await other.logout();
}

// QRESYNC: a client that was away is told what is gone and what has other flags, and nothing else.
async function missed(uids) {
  const away = await connect();
  assert.ok(away.enabled.has("QRESYNC"), [...away.enabled].join());
  const { uidValidity, highestModseq } = await away.mailboxOpen(CITY);
  await away.logout();
  const other = await connect();
  await other.mailboxOpen(CITY);
  await other.messageFlagsAdd(uids.get("semplice"), ["\\Flagged"], { uid: true });
  await other.messageDelete(uids.get("senza-fine"), { uid: true });
  await other.logout();
  const back = await connect();
  const told = [];
  back.on("expunge", (event) => told.push(["gone", event.uid, event.vanished, event.earlier]));
  back.on("flags", (event) => told.push(["flags", event.uid, [...event.flags].sort().join(" ")]));
  const opened = await back.mailboxOpen(CITY, { changedSince: highestModseq, uidValidity });
  assert.strictEqual(opened.qresync, true);
  assert.deepStrictEqual(told, [
    ["gone", uids.get("senza-fine"), true, true],
    ["flags", uids.get("semplice"), "$Importante \\Flagged \\Seen"],
  ]);
  const quota = await back.getQuota(CITY);
  assert.strictEqual(quota.storage.limit, 1 << 30);
  await back.logout();
}

async function main() {
  const client = await connect();
  await mailboxes(client);
  const uids = await messages(client);
  await changes(client, uids);
  await events(client, uids);
  await client.logout();
  await missed(uids);
  // Nothing enabled, names in modified UTF-7, TLS by STARTTLS.
  const plain = await connect({ port: Number(IMAP), secure: false, doSTARTTLS: true, disableAutoEnable: true });
  const opened = await plain.mailboxOpen(CITY, { readOnly: true });
  assert.strictEqual(opened.exists, uids.size - 1);
  const message = await plain.fetchOne(uids.get("otto-bit"), { source: true }, { uid: true });
  assert.ok(message.source.equals(samples.get("otto-bit")));
  await plain.logout();
  const stranger = make({ auth: { user: RECIPIENT, pass: "wrong" } });
  await assert.rejects(stranger.connect(), (error) => error.authenticationFailed);
  stranger.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
