// The page of the pretend shop: what a partner writes to sell credits and to spend them. Options of the
// widget may come by the query: ?checkoutMode=new_tab&locale=de
"use strict";

const { gateway, key } = document.body.dataset;
const $ = (id) => document.getElementById(id);

function told(name) {
  return (data) => {
    const line = document.createElement("li");
    const secret = (field, value) => (field === "user_key" ? "oc_sk_…" : value);
    line.textContent = `${name} ${JSON.stringify(data ?? {}, secret)}`;
    $("told").append(line);
    showBalance();
  };
}

async function showBalance() {
  const userKey = OpenCredits.getUserKey();
  if (!userKey) return ($("balance").value = "not logged in");
  const answer = await fetch(`${gateway}/v1/credits/balance`, { headers: { "X-User-Key": userKey } });
  if (answer.ok) $("balance").value = `${(await answer.json()).balance} credits`;
}

async function chat(words) {
  const userKey = OpenCredits.getUserKey();
  if (!userKey) return OpenCredits.open();
  const answer = await fetch(`${gateway}/v1/chat/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-User-Key": userKey },
    body: JSON.stringify({ model: "openai/gpt-4o", messages: [{ role: "user", content: words }] }),
  });
  // Out of credits: the user buys more and asks again.
  if (answer.status === 402) return OpenCredits.open();
  const body = await answer.json();
  $("answer").textContent = answer.ok ? body.choices[0].message.content : body.error.message;
  showBalance();
}

OpenCredits.init({
  publishableKey: key,
  ...Object.fromEntries(new URLSearchParams(location.search)),
  ...Object.fromEntries(
    ["onPurchaseCompleted", "onLoginCompleted", "onCheckoutOpened", "onPurchaseError", "onError", "onComplete", "onLoggedOut"]
      .map((name) => [name, told(name)]),
  ),
});
$("buy").addEventListener("click", () => OpenCredits.open());
$("buy10").addEventListener("click", () => OpenCredits.open({ amount: 10 }));
$("chat").addEventListener("submit", (event) => {
  event.preventDefault();
  chat($("words").value);
});
showBalance();
