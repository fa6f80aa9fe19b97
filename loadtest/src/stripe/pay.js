// The buyer's side of the simulated Stripe: sends what is done on the page, and shows what comes of it.
"use strict";

const { session, embedded, status, success } = document.body.dataset;
const card = document.getElementById("card");
const asks = document.getElementById("bank-asks");
const error = document.querySelector("[role=alert]");
const over = document.getElementById("over");
const cancel = document.getElementById("cancel");

if (embedded !== "true" && cancel.getAttribute("href")) cancel.hidden = false;
if (status !== "open") close(`This session is ${status}.`);

function close(words) {
  card.hidden = true;
  asks.hidden = true;
  over.textContent = words;
}

async function send(action) {
  error.textContent = "";
  const body = new URLSearchParams({ action, number: card.elements.number.value });
  const answer = await fetch(`/pay/${session}`, { method: "POST", body });
  const { result, message } = await answer.json();
  asks.hidden = result !== "asks";
  card.hidden = result === "asks";
  if (result === "declined") error.textContent = message;
  if (result === "closed") close(message);
  if (result !== "succeeded") return;
  close("Thank you.");
  // Nothing secret is told, and the listener checks who says it.
  if (embedded === "true") parent.postMessage({ simulated_stripe: "complete", session }, "*");
  else location.href = success.replace("{CHECKOUT_SESSION_ID}", session);
}

card.addEventListener("submit", (event) => {
  event.preventDefault();
  send("pay");
});
document.getElementById("bank").addEventListener("click", () => send("bank"));
document.getElementById("confirm").addEventListener("click", () => send("confirm"));
document.getElementById("refuse").addEventListener("click", () => send("refuse"));
