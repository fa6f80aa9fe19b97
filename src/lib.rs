//! The gateway: meters AI requests to the microcredit.
//!
//! The life of a request: route → key → account, partner → rate limit → model, allowed? → quote →
//! place hold → upstream → stream back while metering → usage → settle (durable) → last byte.
//! [`routes`] is the table, [`completion`] the life, [`live`] the one settlement.

pub mod admin;
pub mod answer;
pub mod assets;
pub mod auth;
pub mod books;
pub mod cli;
pub mod completion;
pub mod config;
pub mod cors;
pub mod credits;
pub mod dates;
pub mod error;
pub mod gateway;
pub mod history;
pub mod keys;
pub mod limits;
pub mod live;
pub mod models;
pub mod partner_api;
pub mod place;
pub mod prices;
pub mod random;
pub mod relay;
pub mod request;
pub mod routes;
pub mod running;
pub mod server;
pub mod serving;
pub mod telemetry;
pub mod upstream;
pub mod verbs;

pub use config::Config;
pub use gateway::Gateway;
pub use serving::{ServeError, Server};
