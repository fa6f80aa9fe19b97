//! The gateway: meters AI requests to the microcredit.
//!
//! The life of a request: route → key → account, partner → rate limit → model, allowed? → quote →
//! place hold → upstream → stream back while metering → usage → settle (durable) → last byte.
//! [`routes`] is the table, [`completion`] the life, [`plan`] what is asked of whom, [`live`] the one
//! settlement.

pub mod admin;
pub mod answer;
pub mod assets;
pub mod auth;
pub mod books;
pub mod checkout;
pub mod cli;
pub mod completion;
pub mod config;
pub mod cors;
pub mod count_tokens;
pub mod credits;
pub mod dates;
pub mod error;
pub mod gateway;
pub mod history;
mod key_uses;
pub mod keys;
pub mod limits;
pub mod live;
mod lock;
pub mod models;
pub mod moving;
pub mod partner_api;
pub mod place;
pub mod plan;
pub mod prices;
pub mod provider_error;
pub mod random;
pub mod recent_items;
pub mod relay;
pub mod request;
pub mod routes;
pub mod running;
pub mod server;
pub mod serving;
pub mod telemetry;
pub mod upstream;
pub mod verbs;
pub mod workers;

pub use config::Config;
pub use gateway::Gateway;
pub use serving::{ServeError, Server};
