//! The mail that says that top-up switched itself off, and what to do.

use opencredits_schema::{TopUp, TopUpEnd, TopUpState};

use crate::checkout::Desk;
use crate::checkout::mail::Mail;
use crate::error::ApiError;
use crate::gateway::Gateway;

/// Tells the user, where an address is known and there is something to tell.
///
/// # Errors
/// 502: it could not be handed over; 503 when the store does not answer.
pub(super) async fn send(gateway: &Gateway, desk: &Desk, top_up: &TopUp) -> Result<(), ApiError> {
    let Some(why) = why(top_up.state) else { return Ok(()) };
    let Some(to) = gateway.system.store().email_of(top_up.account).await? else { return Ok(()) };
    let partner = gateway.system.partner(top_up.partner).await?;
    let app = partner.as_ref().map_or("the app", |partner| partner.name.as_str());
    let subject = "Automatic top-up is off".to_owned();
    let text = format!(
        "{why} Nothing was charged, and your credits are not topped up automatically any more.\n\n\
         To go on, buy credits once more by hand in {app}. There you can also switch automatic \
         top-up on again.\n"
    );
    desk.mailer.send(Mail { to, subject, text }).await
}

fn why(state: TopUpState) -> Option<&'static str> {
    match state {
        TopUpState::Off(TopUpEnd::Authentication) => {
            Some("Your bank wants you to confirm each payment with your card yourself.")
        }
        TopUpState::Off(TopUpEnd::Declined) => {
            Some("Your card was declined several times in a row.")
        }
        TopUpState::On | TopUpState::Off(TopUpEnd::User | TopUpEnd::Disputed) => None,
    }
}
