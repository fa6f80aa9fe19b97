//! Takes out of a provider's words what is the operator's: keys, names of its account, its quota.

/// The longest text that is passed on, in characters: an error can echo the whole request.
const MESSAGE_MAX: usize = 2_000;
/// What is said where nothing is left.
const NOTHING_LEFT: &str = "The AI provider refused the request.";
/// How keys and ids of accounts begin.
const SECRETS: [&str; 9] =
    ["sk-", "xai-", "AIza", "org-", "org_", "proj_", "proj-", "team-", "user-"];
/// Shorter words that begin like that are words: `user-agent`, `team-work`.
const SECRET_MIN: usize = 12;
/// What a sentence about the operator's account has in it, in lower case.
const ACCOUNT: [&str; 10] = [
    "quota",
    "billing",
    "credit balance",
    "spend limit",
    "spending limit",
    "api key",
    "api-key",
    "organization",
    "your team",
    "your account",
];

/// The text for the client.
pub(super) fn scrubbed(message: &str) -> String {
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    let mut text = String::with_capacity(message.len());
    for sentence in message.split_inclusive(['\n', '.']) {
        let lower = sentence.to_lowercase();
        if !ACCOUNT.iter().any(|word| lower.contains(word)) {
            text.push_str(&without_secrets(sentence));
        }
    }
    let text = text.trim();
    if text.chars().any(char::is_alphanumeric) { text.to_owned() } else { NOTHING_LEFT.to_owned() }
}

fn without_secrets(sentence: &str) -> String {
    let in_word = |letter: char| letter.is_alphanumeric() || "-_*…".contains(letter);
    let mut text = String::with_capacity(sentence.len());
    for piece in sentence.split_inclusive(|letter| !in_word(letter)) {
        let word = piece.trim_end_matches(|letter| !in_word(letter));
        let is_secret =
            word.len() >= SECRET_MIN && SECRETS.iter().any(|begin| word.starts_with(begin));
        text.push_str(if is_secret { "[removed]" } else { word });
        text.push_str(piece.strip_prefix(word).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        assert_eq!(scrubbed(message), expected);
    }

    #[test]
    fn keys_and_accounts_are_taken_out() {
        check("`temperature` must be ≤ 2.", "`temperature` must be ≤ 2.");
        check("at sk-proj-abcdefgh123, then", "at [removed], then");
        check("(xai-abcdefgh1234)", "([removed])");
        check("x=AIzaSyA-abcdefgh_1 ok", "x=[removed] ok");
        check("for org-abcdefgh1234: too long", "for [removed]: too long");
        check("bad user-agent and sk-x", "bad user-agent and sk-x");
        check("Too long. You exceeded your current quota, sorry.", "Too long.");
        check("Your credit balance is too low to go on", NOTHING_LEFT);
        check("Incorrect API key provided: abc.", NOTHING_LEFT);
        check("", NOTHING_LEFT);
        assert_eq!(scrubbed(&"ü".repeat(MESSAGE_MAX * 2)).chars().count(), MESSAGE_MAX);
    }
}
