//! Diagnostics of a result, as YAML that people read unaided: the failed call first.

use super::*;

/// The lines of a YAML mapping, without indentation; empty if there is nothing to report.
pub(super) fn yaml(&Entry { case, verdict, outcome, .. }: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    if verdict.status == Status::Skip {
        return lines;
    }
    match outcome {
        Outcome::UnexpectedPass { bug, entry: Some(_) } => {
            lines.push(field("reason", &format!("passed, although {bug}; take the case out of the entry")));
        }
        Outcome::UnexpectedPass { bug, entry: None } => {
            let text = format!("passed, although this is listed as a known bug of this kernel: {bug}; update the list");
            lines.push(field("reason", &text));
        }
        _ if verdict.status == Status::Pass => {}
        _ => {
            match verdict.failed.first() {
                Some(check) => lines.extend(check_fields(check)),
                None => {
                    lines.push(field("status", verdict.status.word()));
                    lines.push(field("reason", &verdict.reason));
                    lines.push(field("requirement", &case.proves.join(", ")));
                }
            }
            lines.push(field("about", &case.about));
            if !case.source.is_empty() {
                lines.push(field("source", &case.source));
            }
        }
    }
    if verdict.failed.len() > 1 {
        lines.push("also:".to_owned());
        for check in &verdict.failed[1..] {
            let leads = std::iter::once("  - ").chain(std::iter::repeat("    "));
            lines.extend(leads.zip(check_fields(check)).map(|(lead, line)| format!("{lead}{line}")));
        }
    }
    if !verdict.notes.is_empty() {
        // A literal block: Test::Harness takes a quoted list item that begins with a word and a colon for a mapping.
        lines.push("notes: |".to_owned());
        lines.extend(verdict.notes.iter().flat_map(|note| block_lines(note)));
    }
    lines
}

/// A note in a literal block. A first line that is empty or begins with a blank would end or shift it.
fn block_lines(text: &str) -> Vec<String> {
    let mut lines = note_lines(text);
    if let Some(first) = lines.first_mut() {
        *first = match first.trim_start() {
            "" => ".".to_owned(),
            text => text.to_owned(),
        };
    }
    lines.iter().map(|line| format!("  {line}")).collect()
}

fn field(key: &str, value: &str) -> String {
    format!("{key}: {}", yaml_scalar(value))
}

fn check_fields(check: &FailedCheck) -> Vec<String> {
    let mut fields = vec![
        field("call", &check.call),
        field("expected", &check.expected),
        field("actual", &check.actual),
        field("requirement", &check.requirement),
    ];
    if let Some(task) = &check.task {
        fields.push(field("task", task));
    }
    // Plain, so that editors open it.
    fields.push(format!("at: {}", check.at));
    fields
}
