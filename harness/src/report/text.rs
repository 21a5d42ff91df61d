//! Hostile text made harmless: results may quote anything a kernel or a case printed.

use std::fmt::Write as _;

/// One line of printable text: line ends and control characters are written as escapes.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push(' '),
            c if c.is_control() => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// A YAML scalar: plain where nothing in it can be misread, else double-quoted as JSON does it,
/// which YAML reads the same.
pub(super) fn yaml_scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./()|+-=<> ,;".contains(c);
    let starts_plain = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric() || "(/_".contains(c));
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = starts_plain
        && text.chars().all(is_plain)
        && !text.ends_with(' ')
        && !reserved.contains(&text.to_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        serde_json::to_string(text).expect("text is representable in JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_line() {
        assert_eq!(
            one_line("a\nnot ok 1\r\u{1b}[31m\tb"),
            "a\\nnot ok 1\\u{d}\\u{1b}[31m b"
        );
    }

    #[test]
    fn scalars_that_could_be_misread_are_quoted() {
        for (text, expected) in [
            (
                "unshare(CLONE_FS|CLONE_NEWNS)",
                "unshare(CLONE_FS|CLONE_NEWNS)",
            ),
            ("0", "0"),
            ("a: b", "\"a: b\""),
            ("- x", "\"- x\""),
            ("a # b", "\"a # b\""),
            ("", "\"\""),
            ("no", "\"no\""),
            ("say \"x\"\n...", "\"say \\\"x\\\"\\n...\""),
            ("ünïcode", "\"ünïcode\""),
        ] {
            assert_eq!(yaml_scalar(text), expected);
        }
    }
}
