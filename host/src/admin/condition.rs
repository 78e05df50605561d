//! What a request expects to serve: `If-Match`, `If-None-Match` and `if_generation`.
//!
//! Owns the entity tags, which are generations, and the three ways to say a condition. Decides
//! nothing: the one writer does, when it has taken the order out.
//!
//! | said | means |
//! |---|---|
//! | `If-Match: "7"`, `"if_generation": 7` | generation 7 serves |
//! | `If-Match: "6", "7"` | one of them serves |
//! | `If-Match: *` | something serves |
//! | `If-Match: "0"`, `"if_generation": 0`, `If-None-Match: *` | nothing serves |
//!
//! Source: RFC 9110, 13.1. A tag that is no generation, or a weak one, matches nothing.

use std::collections::BTreeSet;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
};

use super::fault::Fault;
use crate::{
    deploy::condition::{Condition, NOTHING},
    ids::Generation,
};

/// The entity tag of what serves.
pub(super) fn tag(generation: Generation) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{generation}\"")).expect("digits and quotes are visible")
}

/// What the header says, to be joined with what the body says.
#[derive(Debug)]
pub(super) struct Expected(Result<Condition, Fault>);

impl Expected {
    /// The condition of the order; `field` is the body's, or the query's.
    pub(super) fn and(self, field: Option<u64>) -> Result<Condition, Fault> {
        let said = self.0?;
        let Some(number) = field else { return Ok(said) };
        let wanted = Condition::generation(Generation(number));
        if said != Condition::None && said != wanted {
            return Err(bad("the header and `if_generation` expect different things"));
        }
        Ok(wanted)
    }
}

impl<S: Sync> FromRequestParts<S> for Expected {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(of_headers(&parts.headers)))
    }
}

fn bad(message: &str) -> Fault {
    let hint = "send `If-Match: \"7\"` for generation 7, `If-Match: *` for any, `If-Match: \"0\"` \
                for nothing";
    Fault::new(StatusCode::BAD_REQUEST, "bad_condition", message, hint)
}

fn of_headers(headers: &HeaderMap) -> Result<Condition, Fault> {
    let none = list(headers, &header::IF_NONE_MATCH)?;
    let wanted = list(headers, &header::IF_MATCH)?;
    match (wanted.as_deref(), none.as_deref()) {
        (None, None) => Ok(Condition::None),
        (Some("*"), None) => Ok(Condition::Anything),
        (Some(tags), None) => Ok(Condition::OneOf(generations(tags)?)),
        (None, Some("*")) => Ok(Condition::generation(NOTHING)),
        (_, Some(_)) => Err(bad("of `If-None-Match`, only `*` alone is understood")),
    }
}

/// All lines of a field as one list.
fn list(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Fault> {
    let lines: Result<Vec<_>, _> = headers.get_all(name).iter().map(HeaderValue::to_str).collect();
    let lines = lines.map_err(|_| bad("the condition is no text"))?;
    Ok((!lines.is_empty()).then(|| lines.join(",").trim().to_owned()))
}

fn generations(tags: &str) -> Result<BTreeSet<Generation>, Fault> {
    let mut all = BTreeSet::new();
    for tag in tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        let weak = tag.starts_with("W/");
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let quoted = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        // A number without quotes is no tag, and cannot mean anything else.
        let text = match quoted {
            Some(text) if !text.contains('"') => text,
            None if !weak && opaque.bytes().all(|byte| byte.is_ascii_digit()) => opaque,
            _ => return Err(bad("the condition is no list of entity tags")),
        };
        if !weak {
            all.extend(text.parse().ok().map(Generation));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_conditions() {
        let one_of =
            |list: &[u64]| Some(Condition::OneOf(list.iter().copied().map(Generation).collect()));
        for (lines, expected) in [
            (&[][..], Some(Condition::None)),
            (&[("if-match", "*")], Some(Condition::Anything)),
            (&[("if-match", "\"7\"")], one_of(&[7])),
            (&[("if-match", "7")], one_of(&[7])),
            (&[("if-match", " \"6\" , \"7\"")], one_of(&[6, 7])),
            (&[("if-match", "\"6\""), ("if-match", "\"7\"")], one_of(&[6, 7])),
            (&[("if-match", "\"0\"")], one_of(&[0])),
            (&[("if-none-match", "*")], one_of(&[0])),
            // What is a tag and no generation matches nothing.
            (&[("if-match", "\"abc\"")], one_of(&[])),
            (&[("if-match", "W/\"7\"")], one_of(&[])),
            (&[("if-match", "\"99999999999999999999\"")], one_of(&[])),
            (&[("if-match", "seven")], None),
            (&[("if-match", "\"7")], None),
            (&[("if-match", "\"7\"8\"")], None),
            (&[("if-none-match", "\"7\"")], None),
            (&[("if-match", "\"7\""), ("if-none-match", "*")], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            let found = of_headers(&headers);
            let code = found.as_ref().err().map(|fault| fault.code);
            assert_eq!(code, expected.is_none().then_some("bad_condition"), "{lines:?}");
            assert_eq!(found.ok(), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_field_joins_the_header() {
        let seven = || Condition::generation(Generation(7));
        for (header, field, expected) in [
            (Condition::None, None, Some(Condition::None)),
            (Condition::None, Some(7), Some(seven())),
            (seven(), None, Some(seven())),
            (seven(), Some(7), Some(seven())),
            (seven(), Some(6), None),
            (Condition::Anything, Some(7), None),
        ] {
            assert_eq!(Expected(Ok(header)).and(field).ok(), expected);
        }
        assert_eq!(tag(Generation(7)), "\"7\"");
    }
}
