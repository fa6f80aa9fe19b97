//! The pages of the checkout: the frame, and what a new tab shows before and after Stripe.

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::{desk, partner};
use crate::assets;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::request::Incoming;

/// `GET /checkout/frame?pk=…`: the frame, for the pages of that partner only.
///
/// # Errors
/// 404 `invalid_publishable_key`; 503 `checkout_off`.
pub(super) async fn frame(
    gateway: &Gateway,
    request: &Incoming,
) -> Result<Response<Bytes>, ApiError> {
    let desk = desk(gateway)?;
    let key = request.param("pk").unwrap_or_default();
    let partner = partner::by_key(gateway, request, &key).await?;
    let origins = partner::origins(&partner, desk);
    let ancestors = if origins.is_empty() { "'none'".to_owned() } else { origins.join(" ") };
    let stripe = origin_of(&desk.js_url);
    let policy = format!(
        "default-src 'none'; script-src 'self' {stripe}; style-src 'self'; img-src 'self' data: \
         https://*.stripe.com; connect-src 'self' https://api.stripe.com; frame-src {stripe} \
         https://hooks.stripe.com; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    );
    let mut response = assets::page(assets::FRAME);
    // A configured origin that no header can hold closes the frame to all.
    let policy = HeaderValue::try_from(policy)
        .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(assets::HTML));
    Ok(response)
}

/// `GET /checkout/launch`: what a new tab shows until it knows Stripe's page.
pub(super) fn launch() -> Response<Bytes> {
    assets::page(assets::LAUNCH)
}

/// `GET /checkout/return`: where Stripe's page sends the buyer.
pub(super) fn back() -> Response<Bytes> {
    assets::page(assets::RETURN)
}

/// The origin of an address that the configuration has checked.
fn origin_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
}
