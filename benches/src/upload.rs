//! Bulk ingest over Flight SQL: the same rows as Arrow batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray,
    UInt32Array,
};
use arrow::datatypes::UInt32Type;
use quorate_sql_tests::Server;

use crate::workload::{FIELDS, TAGS, Workload};

/// The rows of a batch under construction.
#[derive(Default)]
struct Rows {
    hosts: Vec<u32>,
    times: Vec<i64>,
    fields: [Vec<f64>; 10],
}

impl Rows {
    fn finish(self, tags: &[ArrayRef]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let hosts = UInt32Array::from(self.hosts);
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        let times = TimestampNanosecondArray::from(self.times).with_timezone("UTC");
        columns.push(("time", Arc::new(times)));
        for (name, values) in TAGS.iter().zip(tags) {
            let tag = DictionaryArray::<UInt32Type>::try_new(hosts.clone(), Arc::clone(values))?;
            columns.push((name, Arc::new(tag)));
        }
        for (name, values) in FIELDS.iter().zip(self.fields) {
            columns.push((name, Arc::new(Float64Array::from(values))));
        }
        RecordBatch::try_from_iter(columns)
    }
}

/// All rows, so many a batch, in the order of time.
pub(crate) fn batches(
    workload: Workload,
    rows_max: usize,
) -> Result<Vec<RecordBatch>, Box<dyn std::error::Error>> {
    let mut texts: [Vec<String>; 10] = Default::default();
    let mut all = Vec::new();
    let mut rows = Rows::default();
    workload.each_row(|host, values, time| {
        if texts[0].len() == host.number as usize {
            for (texts, text) in texts.iter_mut().zip(&host.tags) {
                texts.push(text.clone());
            }
        }
        rows.hosts.push(host.number);
        rows.times.push(time);
        for (column, value) in rows.fields.iter_mut().zip(values) {
            column.push(value);
        }
        if rows.times.len() == rows_max {
            all.push(std::mem::take(&mut rows));
        }
        Ok(())
    })?;
    if !rows.times.is_empty() {
        all.push(rows);
    }
    let tags: Vec<ArrayRef> =
        texts.into_iter().map(|texts| Arc::new(StringArray::from(texts)) as ArrayRef).collect();
    Ok(all.into_iter().map(|rows| rows.finish(&tags)).collect::<Result<_, _>>()?)
}

/// Sends the batches over several connections, each a share of them as one upload, and gives the number of rows stored.
pub(crate) async fn upload(
    server: &Server,
    batches: Vec<RecordBatch>,
    connections: usize,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut shares = vec![Vec::new(); connections];
    for (number, batch) in batches.into_iter().enumerate() {
        shares[number % connections].push(batch);
    }
    let tags = TAGS.join(",");
    let mut uploads = tokio::task::JoinSet::new();
    for share in shares {
        let mut client = server.client("main").await?;
        let tags = tags.clone();
        uploads.spawn(async move { client.ingest("cpu", Some(&tags), share).await });
    }
    let mut rows = 0;
    while let Some(uploaded) = uploads.join_next().await {
        rows += uploaded??;
    }
    Ok(rows)
}
