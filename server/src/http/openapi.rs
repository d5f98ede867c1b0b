//! `/openapi.json`: what the door takes and answers, for machines.
//!
//! The document is written by hand, as what really happens is its subject. A test beside it holds it against the routes,
//! and the tests of clients hold it against the answers of a running node.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document, with a place for the version.
const DOCUMENT: &str = include_str!("openapi.json");

static FILLED_IN: LazyLock<String> =
    LazyLock::new(|| DOCUMENT.replace("{version}", env!("CARGO_PKG_VERSION")));

/// `/openapi.json`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], FILLED_IN.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::Body;
    use axum::http::{Method, Request, StatusCode};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::http::door::ROUTES;
    use crate::http::{Door, DoorOptions};

    fn document() -> Value {
        serde_json::from_str(&FILLED_IN).unwrap()
    }

    #[test]
    fn the_document_has_the_routes_and_no_others() {
        let document = document();
        let paths: BTreeSet<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let routes: BTreeSet<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        assert_eq!(paths, routes);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[tokio::test]
    async fn the_document_has_the_methods_and_no_others() {
        let document = document();
        let options = DoorOptions { body_bytes_max: 1 << 10, bodies_bytes_max: 1 << 10 };
        let router = Door::new(options).router();
        for (path, _) in ROUTES {
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let request = Request::builder().method(&method).uri(path.replace(['{', '}'], ""));
                let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
                let taken = answer.unwrap().status() != StatusCode::METHOD_NOT_ALLOWED;
                let key = method.as_str().to_ascii_lowercase();
                let described = document["paths"][path].get(&key).is_some();
                assert_eq!(taken, described, "{method} {path}");
            }
        }
    }

    #[test]
    fn references_lead_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(target)) = fields.get("$ref") {
                        let place = target.strip_prefix('#').unwrap();
                        assert!(document.pointer(place).is_some(), "{target}");
                    }
                    fields.values().for_each(|value| check(value, document));
                }
                Value::Array(values) => values.iter().for_each(|value| check(value, document)),
                _ => {}
            }
        }
        check(&document(), &document());
    }
}
