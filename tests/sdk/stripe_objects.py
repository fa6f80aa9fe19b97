"""The simulated Stripe against Stripe's own Python library: prints `ok <what>` for each.

Environment: STRIPE (the simulator's origin), SESSION (a paid session), SECRET (of its webhooks); on
standard input one JSON line for each webhook, `{"body", "header"}`.
"""

import json
import os
import sys

import stripe

stripe.api_key = "sk_test_simulated"
stripe.api_base = os.environ["STRIPE"]
secret = os.environ["SECRET"]

session = stripe.checkout.Session.retrieve(os.environ["SESSION"])
assert session.payment_status == "paid" and session.metadata["oc_order"], session
print("ok session")

payment = stripe.PaymentIntent.retrieve(session.payment_intent)
assert payment.status == "succeeded" and payment.metadata["oc_order"], payment
print("ok payment")

refund = stripe.Refund.create(payment_intent=payment.id, amount=100)
assert refund.status == "succeeded" and refund.amount == 100, refund
print("ok refund")

try:
    stripe.checkout.Session.create(mode="payment", ui_mode="embedded")
except stripe.InvalidRequestError as error:
    assert error.param == "ui_mode", error
    print("ok refusal")

kinds = set()
for line in sys.stdin:
    webhook = json.loads(line)
    event = stripe.Webhook.construct_event(webhook["body"], webhook["header"], secret)
    kinds.add(event.type)
    try:
        stripe.Webhook.construct_event(webhook["body"] + " ", webhook["header"], secret)
    except stripe.SignatureVerificationError:
        continue
    raise AssertionError("a tampered body was believed")
assert "checkout.session.completed" in kinds, kinds
print("ok webhooks")
