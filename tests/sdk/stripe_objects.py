"""The simulated Stripe against Stripe's own Python library: prints `ok <what>` for each.

Environment: STRIPE (the simulator's origin), SESSION (a session that was paid after a declined card, then
disputed), SECRET (of its webhooks); on standard input one JSON line for each webhook, `{"body", "header"}`.
"""

import json
import os
import sys

import stripe

stripe.api_key = "sk_test_simulated"
stripe.api_base = os.environ["STRIPE"]
secret = os.environ["SECRET"]


def expect(value, kind, **attributes):
    """The library has made an object of its class for this, with these attributes."""
    assert type(value) is kind, f"{type(value)} instead of {kind}"
    for name, wanted in attributes.items():
        found = getattr(value, name)
        assert found == wanted, f"{kind.__name__}.{name} is {found}, not {wanted}"
    return value


session = expect(
    stripe.checkout.Session.retrieve(os.environ["SESSION"]),
    stripe.checkout.Session,
    status="complete",
    payment_status="paid",
    mode="payment",
    ui_mode="embedded_page",
    currency="usd",
    amount_subtotal=1000,
    amount_total=1000,
    livemode=False,
    url=None,
)
assert session.metadata["oc_order"] == session.client_reference_id, session
assert session.expires_at - session.created >= 29 * 60, session
assert session.total_details.amount_tax == 0 and session.automatic_tax.enabled is False, session
print("ok session")

lines = expect(stripe.checkout.Session.list_line_items(session.id), stripe.ListObject, has_more=False)
line = expect(lines.data[0], stripe.LineItem, amount_total=1000, quantity=1, currency="usd")
expect(line.price, stripe.Price, unit_amount=1000, type="one_time", currency="usd")
print("ok line items")

found = stripe.checkout.Session.list(payment_intent=session.payment_intent)
assert [one.id for one in found.auto_paging_iter()] == [session.id], found
print("ok sessions")

payment = expect(
    stripe.PaymentIntent.retrieve(session.payment_intent),
    stripe.PaymentIntent,
    status="succeeded",
    amount=1000,
    amount_received=1000,
    currency="usd",
)
assert payment.metadata["oc_order"] == session.client_reference_id, payment
print("ok payment")

charge = expect(
    stripe.Charge.retrieve(payment.latest_charge),
    stripe.Charge,
    amount=1000,
    amount_captured=1000,
    amount_refunded=0,
    captured=True,
    disputed=True,
    paid=True,
    refunded=False,
    payment_intent=payment.id,
    status="succeeded",
)
assert charge.payment_method_details.card.last4 == "4242", charge
assert charge.outcome.type == "authorized", charge
print("ok charge")

refund = expect(
    stripe.Refund.create(payment_intent=payment.id, amount=100),
    stripe.Refund,
    status="succeeded",
    amount=100,
    charge=charge.id,
    payment_intent=payment.id,
)
assert expect(stripe.Refund.retrieve(refund.id), stripe.Refund) == refund
assert stripe.Charge.retrieve(charge.id).amount_refunded == 100
print("ok refund")

endpoint = expect(
    stripe.WebhookEndpoint.create(url="http://127.0.0.1:9/x", enabled_events=["charge.refunded"]),
    stripe.WebhookEndpoint,
    status="enabled",
    enabled_events=["charge.refunded"],
)
assert endpoint.secret.startswith("whsec_"), endpoint
assert "secret" not in stripe.WebhookEndpoint.retrieve(endpoint.id)
assert endpoint.id in [one.id for one in stripe.WebhookEndpoint.list().auto_paging_iter()]
assert stripe.WebhookEndpoint.delete(endpoint.id).deleted is True
print("ok webhook endpoint")

for ask, status in [
    (lambda: stripe.checkout.Session.create(mode="payment", ui_mode="embedded"), 400),
    (lambda: stripe.WebhookEndpoint.retrieve(endpoint.id), 404),
    (lambda: stripe.Refund.create(payment_intent=payment.id, amount=10_000), 400),
]:
    try:
        ask()
    except stripe.InvalidRequestError as error:
        assert error.http_status == status and error.request_id, error
    else:
        raise AssertionError("it was not refused")
print("ok refusals")

OBJECTS = {
    "charge.dispute.closed": (stripe.Dispute, {"status": "lost", "amount": 1000}),
    "charge.dispute.created": (stripe.Dispute, {"status": "needs_response", "charge": charge.id}),
    "charge.refunded": (stripe.Charge, {"amount_refunded": 100}),
    "charge.succeeded": (stripe.Charge, {"id": charge.id}),
    "checkout.session.completed": (stripe.checkout.Session, {"id": session.id}),
    "checkout.session.expired": (stripe.checkout.Session, {"status": "expired"}),
    "payment_intent.payment_failed": (stripe.PaymentIntent, {"status": "requires_payment_method"}),
    "payment_intent.succeeded": (stripe.PaymentIntent, {"id": payment.id}),
}


def look(event):
    kind, attributes = OBJECTS[event.type]
    expect(event, stripe.Event, api_version="2026-09-30.endive", livemode=False)
    thing = expect(event.data.object, kind, **attributes)
    if event.type == "payment_intent.payment_failed":
        assert thing.last_payment_error.code == "card_declined", thing
    if kind is stripe.Dispute:
        assert thing.payment_method_details.card.brand == "visa", thing
        assert stripe.Dispute.retrieve(thing.id).reason == "fraudulent"
    return event.type


told = {look(event) for event in stripe.Event.list().auto_paging_iter()}
assert told == set(OBJECTS), told
assert look(stripe.Event.retrieve(stripe.Event.list().data[0].id)) == "charge.refunded"
print("ok events")

kinds = set()
for line in sys.stdin:
    webhook = json.loads(line)
    kinds.add(look(stripe.Webhook.construct_event(webhook["body"], webhook["header"], secret)))
    try:
        stripe.Webhook.construct_event(webhook["body"] + " ", webhook["header"], secret)
    except stripe.SignatureVerificationError:
        continue
    raise AssertionError("a tampered body was believed")
assert kinds == set(OBJECTS) - {"charge.refunded"}, kinds
print("ok webhooks")
