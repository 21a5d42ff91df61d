//! Makes hostile text harmless: results may quote anything that a kernel or a case printed.

use std::fmt::Write as _;

/// One line of printable text: line ends and control characters are escaped.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push(' '),
            c if is_hostile(c) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line
}

/// The lines of a note. Those after the first are text to keep, such as a program: indented, with blanks up to where its
/// tabs lead. None is empty, which would end a YAML block for some readers.
pub fn note_lines(text: &str) -> Vec<String> {
    let mut lines = text.split('\n');
    let first = lines.next().map(one_line);
    let rest = lines.map(|line| format!("  {}", one_line(&without_tabs(line))));
    let mut all: Vec<String> = first.into_iter().chain(rest).collect();
    // A text ends with its last line.
    if text.ends_with('\n') {
        all.pop();
    }
    all
}

fn without_tabs(line: &str) -> String {
    const WIDTH: usize = 8;
    let mut pieces = line.split('\t');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let column = text.chars().count();
        text.extend(std::iter::repeat_n(' ', WIDTH - column % WIDTH));
        text.push_str(piece);
    }
    text
}

/// Whether a character ends a line for some reader, controls a terminal, changes the text direction, or is illegal in
/// XML.
fn is_hostile(c: char) -> bool {
    let is_listed =
        matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fdd0}'..='\u{fdef}');
    c.is_control() || is_listed || u32::from(c) & 0xfffe == 0xfffe
}

/// The text after a directive. A second `#` could be read as another directive: the kernel's parser uses the last ` #
/// SKIP` of a line.
pub(super) fn directive_text(text: &str) -> String {
    one_line(text).replace('#', "\\#")
}

/// The text of a comment. `# Subtest: …` is more than a comment to readers of KTAP and TAP 14.
pub(super) fn comment(text: &str) -> String {
    let text = one_line(text);
    if text.trim_start().starts_with("Subtest") { format!("\\{text}") } else { text }
}

/// A YAML scalar: plain if nothing in it can be misread, else quoted as in JSON.
pub(super) fn yaml_scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./()|+-=<> ,;".contains(c);
    let starts_plain = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || "(/_".contains(c));
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = starts_plain
        && text.chars().all(is_plain)
        && !text.ends_with(' ')
        && !reserved.contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// Quoted as in JSON; also escapes hostile characters that JSON allows.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("text is representable in JSON");
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        // YAML knows no surrogate pairs.
        let _ = match u32::from(c) {
            _ if !is_hostile(c) => quoted.write_char(c),
            code @ ..=0xffff => write!(quoted, "\\u{code:04x}"),
            code => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let harmless = "a\\nnot ok 1\\u{d}\\u{1b}[31m b\\u{2028}c\\u{202e}";
        assert_eq!(one_line("a\nnot ok 1\r\u{1b}[31m\tb\u{2028}c\u{202e}"), harmless);
    }

    #[test]
    fn a_text_keeps_its_lines() {
        assert_eq!(note_lines("a"), ["a"]);
        assert_eq!(
            note_lines("C:\nint f\u{1b}\n\n{\n\tx;\ty\n"),
            ["C:", "  int f\\u{1b}", "  ", "  {", "          x;      y"]
        );
    }

    #[test]
    fn nothing_becomes_a_directive_or_a_subtest() {
        assert_eq!(directive_text("a # SKIP b"), "a \\# SKIP b");
        assert_eq!(comment("Subtest: x"), "\\Subtest: x");
        assert_eq!(comment("kernel: x # y"), "kernel: x # y");
    }

    #[test]
    fn scalars_that_could_be_misread_are_quoted() {
        for (text, expected) in [
            ("clone(CLONE_FS|SIGCHLD)", "clone(CLONE_FS|SIGCHLD)"),
            ("0", "0"),
            ("a: b", "\"a: b\""),
            ("- x", "\"- x\""),
            ("a # b", "\"a # b\""),
            ("", "\"\""),
            ("no", "\"no\""),
            ("say \"x\"\n...", "\"say \\\"x\\\"\\n...\""),
            ("ünïcode", "\"ünïcode\""),
            ("a\u{85}b", "\"a\\u0085b\""),
            ("\u{1fffe}", "\"\\U0001fffe\""),
        ] {
            assert_eq!(yaml_scalar(text), expected);
        }
    }
}
