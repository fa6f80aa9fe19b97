// A partner's backend with Express: keeps each user's key on the server and makes the AI requests there.
// Environment: OPENCREDITS_URL (the gateway), PORT. `node server.mjs` says where it listens.

import { randomUUID } from "node:crypto";
import express from "express";

const GATEWAY = process.env.OPENCREDITS_URL ?? "https://api.opencredits.ai";

/** The keys by session. A real app keeps them in its database, encrypted. */
const keys = new Map();

/** Your own login goes here; this one knows a browser by a cookie. */
function session(req, res) {
  const known = /(?:^|; )session=([\w-]+)/.exec(req.headers.cookie ?? "")?.[1];
  if (known) return known;
  const made = randomUUID();
  res.setHeader("Set-Cookie", `session=${made}; HttpOnly; SameSite=Lax; Path=/`);
  return made;
}

const app = express();
app.use(express.json({ limit: "1mb" }));

// onPurchaseCompleted and onLoginCompleted of the widget post the key here.
app.post("/api/save-credits-key", (req, res) => {
  const { userKey } = req.body;
  if (typeof userKey !== "string" || !userKey.startsWith("oc_sk_")) return res.sendStatus(400);
  keys.set(session(req, res), userKey);
  res.sendStatus(204);
});

app.post("/api/chat", async (req, res) => {
  const userKey = keys.get(session(req, res));
  // The page answers a 402 with OpenCredits.open().
  if (!userKey) return res.status(402).json({ error: { type: "insufficient_credits" } });
  const response = await fetch(`${GATEWAY}/v1/chat/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-User-Key": userKey },
    body: JSON.stringify(req.body),
  });
  res.status(response.status).send(await response.json());
});

const server = app.listen(process.env.PORT ?? 3000, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
