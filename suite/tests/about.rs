//! The texts of the cases, as `list` and reports show them, have one form.

/// What is wrong with the form of a text, if anything.
fn fault(about: &str) -> Option<&'static str> {
    // A flag or a call: `CLONE_FS`, `unshare(0)`, `setns(2)`.
    let word = about.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    let call = !word.is_empty() && about[word.len()..].starts_with('(');
    if about.contains(['\t', '\n', '\r']) || about.contains("  ") {
        Some("has a line end, a tab or a run of blanks")
    } else if about.trim() != about {
        Some("has a blank at an end")
    } else if !(about.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit()) || call) {
        Some("starts with neither a capital letter nor the name of a call")
    } else if !about.ends_with('.') || about.ends_with("..") {
        Some("does not end with one full stop")
    } else {
        None
    }
}

#[test]
fn every_text_about_a_case_has_the_form_of_a_sentence() {
    let faults: Vec<String> = suite::cases::all()
        .iter()
        .chain(harness::selftest::CASES)
        .filter_map(|case| {
            Some(format!("{}:{}: {}: {:?} {}", case.file, case.line, case.name, case.about, fault(case.about)?))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_text_of_another_form_is_refused() {
    for good in ["unshare(0) succeeds.", "CLONE_FS works.", "A task ends."] {
        assert_eq!(fault(good), None, "{good}");
    }
    for bad in ["", ".", "a task ends.", "A task ends", "A  task ends.", "A task\nends.", "A task ends. "] {
        assert!(fault(bad).is_some(), "{bad:?}");
    }
}
