//! The one writer of Markdown: headings, lists, tables, and text that is shown as it is.

use std::fmt::{Display, Write};

/// A document that grows.
#[derive(Debug, Default)]
pub struct Document {
    text: String,
}

impl Document {
    /// A paragraph.
    pub fn paragraph(&mut self, text: impl Display) -> &mut Self {
        self.gap();
        let _ = writeln!(self.text, "{text}");
        self
    }

    /// A heading of this level.
    pub fn heading(&mut self, level: usize, text: impl Display) -> &mut Self {
        self.paragraph(format_args!("{} {text}", "#".repeat(level)))
    }

    /// A list, one item a line. Items of an inner list begin with two blanks.
    pub fn list(&mut self, items: impl IntoIterator<Item = impl Display>) -> &mut Self {
        let mut items = items.into_iter().peekable();
        if items.peek().is_some() {
            self.gap();
        }
        for item in items {
            let item = item.to_string();
            let indent = item.len() - item.trim_start().len();
            let _ = writeln!(self.text, "{}- {}", &item[..indent], &item[indent..]);
        }
        self
    }

    /// A table. A heading that ends with a colon belongs to a column of numbers.
    pub fn table(
        &mut self,
        headings: impl IntoIterator<Item: AsRef<str>>,
        rows: impl IntoIterator<Item: IntoIterator<Item = String>>,
    ) -> &mut Self {
        let headings: Vec<_> = headings.into_iter().collect();
        let numbers = headings.iter().map(|heading| heading.as_ref().ends_with(':'));
        let rule: Vec<&str> = numbers.map(|numbers| if numbers { "---:" } else { "---" }).collect();
        self.gap();
        self.row(headings.iter().map(|heading| heading.as_ref().trim_end_matches(':').to_owned()));
        let _ = writeln!(self.text, "|{}|", rule.join("|"));
        rows.into_iter().for_each(|row| self.row(row));
        self
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }
}

/// Text with the characters escaped that Markdown would take for its own.
pub fn escaped(text: &str) -> String {
    let special = |c: char| "\\`*_{}[]<>|#".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// A name as code.
pub fn code(name: impl Display) -> String {
    format!("`{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_apart_and_tables_keep_their_columns() {
        let mut document = Document::default();
        document.heading(1, "Title").list(["one", "  inner"]).list([""; 0]);
        document.table(["a", "n:"], [[escaped("x|y"), "1".to_owned()]]);
        assert_eq!(document.finish(), "# Title\n\n- one\n  - inner\n\n| a | n |\n|---|---:|\n| x\\|y | 1 |\n");
    }
}
