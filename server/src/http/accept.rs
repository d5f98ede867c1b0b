//! What a client wants: the form of rows by `Accept`, and whether they are packed by `Accept-Encoding`.
//!
//! Both headers are lists of ranges with weights (RFC 9110, 12.5). The most exact range that fits a form gives its weight;
//! the form of the greatest weight is taken, of equal ones that which the client named first.

use std::cmp::Reverse;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::respond::HttpError;
use super::rows::Form;

/// The weight of what has none, in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// Each form and the names it has, in the order in which the node would choose.
const FORMS: [(Form, &[&str]); 6] = [
    (Form::Json, &["application/json"]),
    (Form::Csv, &["text/csv", "application/csv"]),
    (Form::Lines, &["application/x-ndjson", "application/ndjson", "application/jsonl"]),
    (Form::Columns, &["application/vnd.quorate.columns+json"]),
    (Form::Arrow, &["application/vnd.apache.arrow.stream"]),
    (Form::Parquet, &["application/vnd.apache.parquet"]),
];

/// The form that the client wants most; JSON if it does not say.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, HttpError> {
    let ranges = ranges(headers, &header::ACCEPT)?;
    if ranges.is_empty() {
        return Ok(Form::Json);
    }
    let fits = |name: &str, range: &str| match range.strip_suffix('*') {
        Some("*/") => true,
        Some(kind) => kind.ends_with('/') && name.starts_with(kind),
        None => name == range,
    };
    let weighed = FORMS.iter().enumerate().filter_map(|(order, (form, names))| {
        let (place, range) = ranges
            .iter()
            .enumerate()
            .filter(|(_, range)| names.iter().any(|name| fits(name, &range.name)))
            // Of two ranges, one with fewer stars is more exact.
            .min_by_key(|(place, range)| (range.name.matches('*').count(), *place))?;
        (range.weight > 0).then_some((Reverse(range.weight), place, order, *form))
    });
    weighed.min_by_key(|(weight, place, order, _)| (*weight, *place, *order)).map_or_else(
        || {
            let names: Vec<&str> =
                FORMS.iter().filter_map(|(_, names)| names.first().copied()).collect();
            let message = format!("rows come as {}; Accept allows none of them", names.join(", "));
            Err(HttpError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message))
        },
        |(.., form)| Ok(form),
    )
}

/// Whether the client unpacks gzip. It must say so: many that say nothing do not.
pub(super) fn gzip(headers: &HeaderMap) -> Result<bool, HttpError> {
    let ranges = ranges(headers, &header::ACCEPT_ENCODING)?;
    let weight = |name: &str| ranges.iter().find(|range| range.name == name).map(|r| r.weight);
    let packed = weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(0);
    Ok(packed > 0 && packed >= weight("identity").unwrap_or(0))
}

/// A part of a list, in lower case.
#[derive(Debug)]
struct Range {
    name: String,
    /// In thousandths.
    weight: u16,
}

fn ranges(headers: &HeaderMap, header: &HeaderName) -> Result<Vec<Range>, HttpError> {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    let parts = values.flat_map(|value| value.split(',')).map(str::to_ascii_lowercase);
    parts.filter(|part| !part.trim().is_empty()).map(|part| range(&part, header)).collect()
}

fn range(part: &str, header: &HeaderName) -> Result<Range, HttpError> {
    let mut fields = part.split(';').map(str::trim);
    let name = fields.next().unwrap_or_default().to_owned();
    let weight = fields.find_map(|field| field.strip_prefix("q=").map(weight));
    match weight.unwrap_or(Some(WEIGHT_MAX)) {
        Some(weight) => Ok(Range { name, weight }),
        None => Err(HttpError::invalid(format!(
            "header {header}: the weight of {name:?} is no number from 0 to 1 with at most three decimals"
        ))),
    }
}

/// A weight in thousandths: `0`, `0.5`, `1.000`.
fn weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    if !digits || !matches!(whole, "0" | "1") {
        return None;
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok()?;
    (thousandths <= WEIGHT_MAX).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(header: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header, HeaderValue::from_str(value).unwrap())])
    }

    fn accept(kinds: &str) -> Option<Form> {
        form(&with(header::ACCEPT, kinds)).ok()
    }

    #[test]
    fn the_greatest_weight_is_taken() {
        assert_eq!(form(&HeaderMap::new()).unwrap(), Form::Json);
        for (kinds, want) in [
            ("*/*", Some(Form::Json)),
            ("", Some(Form::Json)),
            ("text/html, text/csv;q=0.9, */*;q=0.8", Some(Form::Csv)),
            ("text/html, text/csv;q=0.9, */*", Some(Form::Json)),
            ("text/csv;q=0.5,application/json;q=0.9", Some(Form::Json)),
            ("text/csv, application/json", Some(Form::Csv)),
            ("application/*;q=0.5, application/vnd.apache.parquet", Some(Form::Parquet)),
            ("*/*, application/json;q=0, text/csv;q=0", Some(Form::Lines)),
            ("application/json;q=0", None),
            ("*/*;q=0", None),
            ("application/vnd.apache.arrow.stream; codec=none; Q=0.001", Some(Form::Arrow)),
            ("text/csv;q=0.5, application/vnd.quorate.columns+json", Some(Form::Columns)),
            ("image/png", None),
            ("garbage*", None),
        ] {
            assert_eq!(accept(kinds), want, "{kinds}");
        }
    }

    #[test]
    fn a_weight_is_a_number_from_0_to_1() {
        for (text, want) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1.000", Some(1000)),
            ("0.", Some(0)),
            ("1.001", None),
            ("2", None),
            ("0.1234", None),
            (".5", None),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(weight(text), want, "{text}");
        }
        assert!(form(&with(header::ACCEPT, "text/csv;q=much")).is_err());
    }

    #[test]
    fn rows_are_packed_for_clients_that_say_so() {
        for (codings, want) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip", true),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(gzip(&with(header::ACCEPT_ENCODING, codings)).unwrap(), want, "{codings}");
        }
        assert!(!gzip(&HeaderMap::new()).unwrap());
    }
}
