//! Summaries: what an aggregate over a stretch of time asks of the rows of one series, kept beside the rows.
//!
//! ```text
//! append ─► SummaryBuilder   cells of one width: rows, times, and per numeric field count, NaNs, min, max, sum, first, last
//! finish ─► encode           a Parquet file of its own in the section `summaries`, one row per cell
//! read   ─► cells            chosen statistics of the cells that hold chosen rows
//!        ─► narrow_by_cells  fewer rows, by the times and values that cells have
//! ```
//!
//! Cells begin at multiples of their width since 1970 and hold consecutive rows of one series, so the cells of a file
//! tile its rows. All cells of a file have one width: the smallest one at which a cell has [`CELL_ROWS_MIN`] rows on
//! average and all of them take at most a tenth of the bytes of the rows. A file for which there is none has no summaries.

mod build;
mod field;
mod read;
mod values;

pub(crate) use build::SummaryBuilder;
pub(crate) use read::SummaryFooter;
pub use read::{CellStatistic, Cells};
pub use values::{Bounds, ValueBounds, ValueRange};

const MINUTE: i64 = 60_000_000_000;
/// Widths of cells in ns; each divides the next one.
const WIDTHS: [i64; 6] =
    [MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE, 360 * MINUTE, 1_440 * MINUTE];
/// Rows that a cell must have on average.
const CELL_ROWS_MIN: u64 = 64;
/// Summaries may take this part of the bytes of the rows.
const SHARE_MAX: u64 = 10;
/// Key of the inner footer: width of the cells in ns.
const KEY_WIDTH: &str = "quorate.cell_width";
/// Columns of all cells: first row, number of rows, and in ns the beginning and the times of the first and the last row.
const FIRST_ROW: &str = "first_row";
const ROWS: &str = "rows";
const START: &str = "start";
const FIRST_TIME: &str = "first_time";
const LAST_TIME: &str = "last_time";

/// Name of a column of statistics.
fn column_name(field: crate::ColumnId, statistic: CellStatistic) -> String {
    let statistic = match statistic {
        CellStatistic::Count => "count",
        CellStatistic::NanCount => "nan",
        CellStatistic::Min => "min",
        CellStatistic::Max => "max",
        CellStatistic::Sum => "sum",
        CellStatistic::First => "first",
        CellStatistic::Last => "last",
    };
    format!("{statistic}.{}", field.0)
}

#[cfg(test)]
mod tests;
