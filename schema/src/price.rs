//! What each model costs: the price book, and the one function that quotes and charges.

mod book;
mod charge;
mod model;
mod parse;
mod row;
#[cfg(test)]
mod tests;

pub use book::{PriceBook, PriceBookError};
pub use charge::{CacheClass, Charge, Demand, PriceError};
pub use model::{Endpoint, Features, Model, ModelStatus, ParseProviderError, Provider, ServerTool};
