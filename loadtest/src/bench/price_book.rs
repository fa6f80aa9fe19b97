//! Price books of any number of models, for a gateway that is to have many.

use serde_json::{Value, json};

use super::BenchError;

const BUILT_IN: &str = include_str!("../../../schema/prices/models.json");
/// The model that is asked.
const ASKED: &str = "openai/gpt-4o-mini";

/// A price book of so many models: the one that is asked, and others like it.
///
/// # Errors
/// Never with the book that is built in; a test reads it.
pub(super) fn of(models: u64) -> Result<String, BenchError> {
    let book: Value = serde_json::from_str(BUILT_IN)
        .map_err(|error| BenchError::Seed(format!("the built-in price book: {error}")))?;
    let all = book.get("models").and_then(Value::as_array);
    let asked = |model: &&Value| model.get("id").and_then(Value::as_str) == Some(ASKED);
    let asked = all.into_iter().flatten().find(asked);
    let asked = asked.ok_or_else(|| BenchError::Seed(format!("{ASKED} has no price")))?;
    let further = (1..models).map(|number| {
        let mut other = asked.clone();
        if let Some(fields) = other.as_object_mut() {
            let name = format!("other-{number}");
            fields.insert("id".to_owned(), json!(format!("openai/{name}")));
            fields.insert("upstream_id".to_owned(), json!(name));
        }
        other
    });
    let models: Vec<Value> = std::iter::once(asked.clone()).chain(further).collect();
    Ok(json!({"schema": "models/1", "aliases": {}, "models": models}).to_string())
}

#[cfg(test)]
mod tests {
    use opencredits_schema::PriceBook;

    use super::*;

    #[test]
    fn a_book_has_as_many_models_as_it_should() {
        for models in [1, 10, 1_000] {
            let book = PriceBook::parse(&of(models).unwrap()).unwrap();
            assert_eq!(u64::try_from(book.models().count()).unwrap(), models);
            assert!(book.model(ASKED).is_some());
        }
    }
}
