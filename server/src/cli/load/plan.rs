//! What the columns of the files become: the time, tags, fields of a table that is there or is to be made.
//!
//! Pure: what was found in the files, the table, and what the user asks for in; a [`Plan`] or an error that names the
//! column out. The rules are those of schema on write. All files are planned together, before anything is sent, so that
//! a load that was interrupted is planned the same way again.

use std::fmt::Write as _;

use arrow::datatypes::TimeUnit;

use super::columns::{Column, Role, Sample, Type};

/// Name of the time of a table that is made.
const TIME: &str = "time";

/// The columns of one file.
#[derive(Clone, Debug)]
pub(super) struct FileColumns {
    /// The file, as it is shown.
    pub(super) file: String,
    /// Names and what was seen of their values, in the order of the file.
    pub(super) columns: Vec<(String, Sample)>,
    /// Who says what type a value has.
    pub(super) values: Values,
}

/// Who says what type a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Nobody: they are texts, and read as the table wants them.
    Text,
    /// The file.
    Typed,
}

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) table: String,
    pub(super) time: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) types: Vec<(String, Type)>,
    /// What an integer in a time counts.
    pub(super) time_unit: Option<TimeUnit>,
}

/// What the columns become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) table: String,
    /// What is written, as the table calls it: the time, the tags, the fields.
    pub(super) columns: Vec<Column>,
    /// Those of them that the table lacks; all, if there is no table.
    pub(super) new: Vec<Column>,
    /// Whether the table is there.
    pub(super) exists: bool,
    /// What the files call the time.
    pub(super) time_source: String,
    /// Things to tell the user.
    pub(super) notices: Vec<String>,
}

impl Plan {
    /// Plans the columns of all files.
    pub(super) fn new(
        files: &[FileColumns],
        table: Option<&[Column]>,
        wishes: &Wishes,
    ) -> Result<Self, String> {
        let planner = Planner { merged: merge(files)?, table, wishes };
        let time_source = planner.time()?;
        planner.check_names()?;
        let mut columns = vec![Column {
            name: planner.time_name().to_owned(),
            data_type: Type::Time,
            role: Role::Time,
        }];
        let mut notices = Vec::new();
        if time_source != columns[0].name {
            let name = &columns[0].name;
            notices.push(format!("column {time_source:?} is the time, stored as {name:?}"));
        }
        for (name, sample) in &planner.merged {
            if *name == time_source {
                continue;
            }
            match planner.column(name, *sample)? {
                Some(column) => columns.push(column),
                None => notices.push(format!(
                    "column {name:?} is left out: it has no value in the rows that were looked at; \
                     --types gives it a type"
                )),
            }
        }
        columns.sort_by_key(|column| match column.role {
            Role::Time => 0,
            Role::Tag => 1,
            Role::Field => 2,
        });
        let is_new = |c: &&Column| table.is_none_or(|t| t.iter().all(|have| have.name != c.name));
        let new: Vec<Column> = columns.iter().filter(is_new).cloned().collect();
        let table_name = wishes.table.clone();
        let exists = table.is_some();
        let plan = Self { table: table_name, columns, new, exists, time_source, notices };
        files.iter().try_for_each(|file| plan.check_file(file, wishes))?;
        Ok(plan)
    }

    /// The column that one of a file goes to; `None` if it is left out.
    pub(super) fn target(&self, source: &str) -> Option<&Column> {
        if source == self.time_source {
            return self.columns.first();
        }
        self.columns.iter().find(|c| c.role != Role::Time && c.name == source)
    }

    /// The statements that make the table, or what it lacks.
    pub(super) fn statements(&self) -> Vec<String> {
        let table = quoted(&self.table);
        if self.new.is_empty() {
            return Vec::new();
        }
        if self.exists {
            let mut text = format!("ALTER TABLE {table}");
            for (i, column) in self.new.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let key = if column.role == Role::Tag { " PRIMARY KEY" } else { "" };
                let name = quoted(&column.name);
                let _ = write!(
                    text,
                    "{comma} ADD COLUMN IF NOT EXISTS {name} {}{key}",
                    column.data_type
                );
            }
            return vec![text];
        }
        let mut text = format!("CREATE TABLE IF NOT EXISTS {table} (\n");
        for column in &self.new {
            let not_null = if column.role == Role::Time { " NOT NULL" } else { "" };
            let _ = writeln!(text, "  {} {}{not_null},", quoted(&column.name), column.data_type);
        }
        let tags = self.new.iter().filter(|c| c.role == Role::Tag);
        let time = self.new.iter().filter(|c| c.role == Role::Time);
        let key: Vec<String> = tags.chain(time).map(|c| quoted(&c.name)).collect();
        let _ = write!(text, "  PRIMARY KEY ({})\n)", key.join(", "));
        vec![text]
    }

    /// A file has the time, and its types fit the columns.
    fn check_file(&self, file: &FileColumns, wishes: &Wishes) -> Result<(), String> {
        let name = &file.file;
        if !file.columns.iter().any(|(column, _)| *column == self.time_source) {
            return Err(format!("{name} has no column {:?}, which is the time", self.time_source));
        }
        if file.values == Values::Text {
            return Ok(());
        }
        for (column, sample) in &file.columns {
            let (Some(target), Some(found)) = (self.target(column), sample.data_type()) else {
                continue;
            };
            let counts = target.data_type == Type::Time
                && wishes.time_unit.is_some()
                && matches!(found, Type::Integer | Type::Unsigned);
            if !found.widens_to(target.data_type) && !counts {
                return Err(format!(
                    "column {column:?} of {name} is {found}, which does not fit column {:?} of table \
                     {:?}, a {}",
                    target.name, self.table, target.data_type
                ));
            }
        }
        Ok(())
    }
}

/// A column of any of the files, once, with all that was seen of it.
fn merge(files: &[FileColumns]) -> Result<Vec<(String, Sample)>, String> {
    let mut merged: Vec<(String, Sample)> = Vec::new();
    for file in files {
        for (i, (name, sample)) in file.columns.iter().enumerate() {
            if name.is_empty() {
                return Err(format!("column {} of {} has no name", i + 1, file.file));
            }
            if file.columns.iter().take(i).any(|(earlier, _)| earlier == name) {
                return Err(format!("the column {name:?} is there twice in {}", file.file));
            }
            match merged.iter_mut().find(|(have, _)| have == name) {
                Some((_, seen)) => seen.join(*sample),
                None => merged.push((name.clone(), *sample)),
            }
        }
    }
    Ok(merged)
}

/// What a plan is made from.
struct Planner<'a> {
    merged: Vec<(String, Sample)>,
    table: Option<&'a [Column]>,
    wishes: &'a Wishes,
}

impl Planner<'_> {
    fn have(&self, name: &str) -> Option<&Column> {
        self.table?.iter().find(|column| column.name == name)
    }

    fn sample(&self, name: &str) -> Option<Sample> {
        self.merged.iter().find(|(have, _)| have == name).map(|(_, sample)| *sample)
    }

    fn asked_type(&self, name: &str) -> Option<Type> {
        let mut types = self.wishes.types.iter();
        types.find(|(column, _)| column == name).map(|(_, data_type)| *data_type)
    }

    /// Name of the time in the table.
    fn time_name(&self) -> &str {
        let table = self.table.unwrap_or_default();
        table.iter().find(|c| c.role == Role::Time).map_or(TIME, |c| &c.name)
    }

    /// What the files call the time.
    fn time(&self) -> Result<String, String> {
        let wanted = self.time_name();
        let table = &self.wishes.table;
        let name = if let Some(name) = &self.wishes.time {
            if self.sample(name).is_none() {
                return Err(format!("there is no column {name:?} to be the time of {table:?}"));
            }
            name.clone()
        } else if self.sample(wanted).is_some() {
            wanted.to_owned()
        } else {
            let is_time = |name: &str, sample: Sample| {
                let asked = self.asked_type(name).or(sample.data_type());
                asked == Some(Type::Time) && self.have(name).is_none()
            };
            let times = self.merged.iter().filter(|(name, sample)| is_time(name, *sample));
            let times: Vec<&str> = times.map(|(name, _)| name.as_str()).collect();
            match times.as_slice() {
                [only] => (*only).to_owned(),
                [] => {
                    return Err(format!(
                        "table {table:?} needs a time column: no column is called {wanted:?} or \
                         holds times; name it with --time"
                    ));
                }
                many => {
                    return Err(format!(
                        "table {table:?} needs a time column: none is called {wanted:?}, and more \
                         than one holds times ({}); name it with --time",
                        many.join(", ")
                    ));
                }
            }
        };
        if name != wanted && self.sample(wanted).is_some() {
            return Err(format!(
                "{name:?} is to be the time of table {table:?}, but there is a column {wanted:?}, too"
            ));
        }
        self.check_time(&name)?;
        Ok(name)
    }

    /// The time holds times, or integers that are said to be times; a few values that are not are rejected later.
    fn check_time(&self, name: &str) -> Result<(), String> {
        let sample = self.sample(name).unwrap_or_default();
        if sample.has_times() || self.asked_type(name) == Some(Type::Time) {
            return Ok(());
        }
        if sample.has_integers() {
            return match self.wishes.time_unit {
                Some(_) => Ok(()),
                None => Err(format!(
                    "the time column {name:?} holds integers: say what they count with --time-unit s, \
                     ms, us or ns"
                )),
            };
        }
        Err(match sample.data_type() {
            Some(found) => format!("the time column {name:?} is {found}, not a time"),
            None => format!("the time column {name:?} has no value"),
        })
    }

    /// Names that the user gave are columns.
    fn check_names(&self) -> Result<(), String> {
        let table = &self.wishes.table;
        for tag in self.wishes.tags.iter().flatten() {
            if self.sample(tag).is_none() {
                return Err(format!("there is no column {tag:?} to be a tag of table {table:?}"));
            }
        }
        match self.wishes.types.iter().find(|(name, _)| self.sample(name).is_none()) {
            Some((name, _)) => Err(format!("--types names {name:?}, which no file has")),
            None => Ok(()),
        }
    }

    /// What a column that is not the time becomes; `None` if nothing tells its type.
    fn column(&self, name: &str, sample: Sample) -> Result<Option<Column>, String> {
        let table = &self.wishes.table;
        let tags = self.wishes.tags.as_deref();
        let is_tag = tags.is_some_and(|tags| tags.iter().any(|tag| tag == name));
        let asked = self.asked_type(name);
        if let Some(have) = self.have(name) {
            if is_tag && have.role != Role::Tag {
                return Err(format!(
                    "column {name:?} of table {table:?} is a field and cannot be a tag"
                ));
            }
            if asked.is_some_and(|asked| asked != have.data_type) {
                let found = have.data_type;
                return Err(format!("column {name:?} of table {table:?} is {found} already"));
            }
            return Ok(Some(have.clone()));
        }
        if is_tag {
            if asked.is_some_and(|asked| asked != Type::Text) {
                return Err(format!("column {name:?} cannot be a tag: tags are STRING"));
            }
            // The values of text files are texts; those of others are checked file by file.
            let role = Role::Tag;
            return Ok(Some(Column { name: name.to_owned(), data_type: Type::Text, role }));
        }
        let Some(data_type) = asked.or(sample.data_type()) else { return Ok(None) };
        let all_texts = tags.is_none() && self.table.is_none();
        let role = if all_texts && data_type == Type::Text { Role::Tag } else { Role::Field };
        Ok(Some(Column { name: name.to_owned(), data_type, role }))
    }
}

/// A name as SQL takes any.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
