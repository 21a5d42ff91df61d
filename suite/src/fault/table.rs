//! The faults: the data in `table.toml`, read when a fault is asked for.

use std::sync::OnceLock;

use serde::Deserialize;
use toml::{Table, Value};

use super::lie::Fault;

/// Faults that are alike: the same for each row, with the row's columns filled in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default = "one_row")]
    row: Vec<Table>,
    fault: Vec<Value>,
}

fn one_row() -> Vec<Table> {
    vec![Table::new()]
}

/// All faults, those that do the least first.
///
/// # Panics
/// The data built into this program is not valid, which a test excludes.
pub fn all() -> &'static [Fault] {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        group: Vec<Group>,
    }
    static ALL: OnceLock<Vec<Fault>> = OnceLock::new();
    ALL.get_or_init(|| {
        let file: File = toml::from_str(include_str!("table.toml")).expect("the table is valid TOML");
        file.group.iter().flat_map(faults_of).collect()
    })
}

/// The fault of this name.
pub fn find(name: &str) -> Option<&'static Fault> {
    all().iter().find(|fault| fault.name == name)
}

fn faults_of(group: &Group) -> impl Iterator<Item = Fault> {
    let filled = group.row.iter().flat_map(|row| group.fault.iter().filter_map(|fault| filled(fault, row)));
    filled.map(|fault| fault.clone().try_into().unwrap_or_else(|error| panic!("{fault}: {error}")))
}

/// The value with each {column} replaced by the row's; nothing if the row lacks one.
fn filled(value: &Value, row: &Table) -> Option<Value> {
    Some(match value {
        Value::String(text) => {
            let whole = row.iter().find(|(column, _)| *text == format!("{{{column}}}"));
            if let Some((_, cell)) = whole {
                return Some(cell.clone());
            }
            let cells = row.iter().filter_map(|(column, cell)| Some((format!("{{{column}}}"), cell.as_str()?)));
            let text = cells.fold(text.clone(), |text, (column, cell)| text.replace(&column, cell));
            if text.contains('{') {
                return None;
            }
            Value::String(text)
        }
        Value::Array(values) => Value::Array(values.iter().map(|value| filled(value, row)).collect::<Option<_>>()?),
        Value::Table(table) => {
            let fields = table.iter().map(|(key, value)| Some((key.clone(), filled(value, row)?)));
            Value::Table(fields.collect::<Option<_>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_words_with_hyphens() {
        let mut seen = BTreeSet::new();
        for fault in all() {
            let usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(fault.name.chars().all(usual), "{}", fault.name);
            assert!(seen.insert(&fault.name), "{} is there twice", fault.name);
            assert!(fault.about.ends_with('.') && fault.imitates.ends_with('.'), "{}", fault.name);
        }
    }

    #[test]
    fn what_they_break_is_in_the_catalogue() {
        for fault in all() {
            assert!(fault.harmless == fault.breaks.is_empty(), "{}", fault.name);
            for id in &fault.breaks {
                assert!(crate::spec::requirements::find(id).is_some(), "{}: {id}", fault.name);
            }
        }
    }

    #[test]
    fn every_flag_can_be_ignored_added_and_refused() {
        for flag in crate::spec::flags::Flags::KNOWN {
            let slug = flag.slug().replace('_', "-");
            for start in ["drops", "adds", "refuses", "claims"] {
                assert!(find(&format!("{start}-{slug}")).is_some(), "{start}-{slug}");
            }
        }
    }
}
