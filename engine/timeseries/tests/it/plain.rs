//! What DataFusion plans by itself is planned as before.

use crate::fixture::check;

#[tokio::test]
async fn plain_queries_answer_as_ever() {
    check("SELECT sum(v) AS s FROM (VALUES (1), (2)) AS t (v)", &["s", "3"]).await;
}
