//! Small readers of the dialects, which panic on what they cannot make sense of.

/// A result as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    name: String,
    word: String,
}

impl Read {
    pub fn new(name: &str, word: &str) -> Self {
        Self { name: name.to_owned(), word: word.to_owned() }
    }
}

/// Lines as the most generous of readers ends them: Python's `splitlines`.
fn lines(report: &str) -> Vec<&str> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    report.strip_suffix('\n').expect("a last line").split(ends).collect()
}

pub fn lines_with<'r>(report: &'r str, text: &str) -> Vec<&'r str> {
    let mut lines = lines(report);
    lines.retain(|line| line.contains(text));
    lines
}

/// A result line without its number: `ok` or `not ok`, the description, the directive's first word.
fn result(line: &str, number: usize, dash: &str) -> Option<Read> {
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => ("not ok", rest),
        None => ("ok", line.strip_prefix("ok ")?),
    };
    let rest = rest.strip_prefix(&format!("{number} {dash}")).unwrap_or_else(|| panic!("number {number} in {line:?}"));
    // As the kernel's parser: the last skip directive of a line decides.
    if let Some((name, _)) = rest.rsplit_once(" # SKIP")
        && rest.matches(" # ").count() > 1
    {
        panic!("{name:?} has two directives");
    }
    let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
    let word = format!("{ok} {}", directive.split(' ').next().unwrap_or_default());
    Some(Read::new(name, word.trim_end()))
}

/// TAP 13, and the YAML blocks.
pub fn tap(report: &str) -> (Vec<Read>, Vec<String>) {
    let lines = lines(report);
    assert_eq!(lines[0], "TAP version 13");
    block(&lines[1..], "")
}

/// The results of one plan, with this indentation.
fn block(lines: &[&str], indent: &str) -> (Vec<Read>, Vec<String>) {
    let planned: usize = lines[0]
        .strip_prefix(indent)
        .and_then(|line| line.strip_prefix("1.."))
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("a plan instead of {:?}", lines[0]));
    let (mut read, mut blocks) = (Vec::new(), Vec::new());
    let mut rest = lines[1..].iter();
    while let Some(line) = rest.next() {
        let line = line.strip_prefix(indent).unwrap_or_else(|| panic!("{line:?} stands too far left"));
        if line == "  ---" {
            let mut yaml = String::new();
            let end = format!("{indent}  ...");
            for line in rest.by_ref().take_while(|line| **line != end) {
                let line = line.strip_prefix(indent).and_then(|line| line.strip_prefix("  "));
                yaml.push_str(line.expect("a line of the block"));
                yaml.push('\n');
            }
            blocks.push(yaml);
        } else if !line.starts_with('#') {
            let number = read.len() + 1;
            read.push(result(line, number, "- ").unwrap_or_else(|| panic!("{line:?}")));
        }
    }
    assert_eq!(read.len(), planned);
    (read, blocks)
}

/// TAP 14: the results of all subtests, each of which its own result must agree with.
pub fn tap14(report: &str) -> (Vec<Read>, Vec<String>) {
    let lines = lines(report);
    assert_eq!(lines[0], "TAP version 14");
    let (mut read, mut blocks) = (Vec::new(), Vec::new());
    let mut top = vec![lines[1]];
    let mut at = 2;
    while at < lines.len() {
        let Some(name) = lines[at].strip_prefix("# Subtest: ") else {
            top.push(lines[at]);
            at += 1;
            continue;
        };
        let end =
            (at + 1..lines.len()).find(|&line| !lines[line].starts_with("    ")).expect("a result after the subtest");
        let (of_group, yaml) = block(&lines[at + 1..end], "    ");
        let good = |read: &Read| matches!(read.word.as_str(), "ok" | "ok SKIP" | "ok TODO" | "not ok TODO");
        let word = if of_group.iter().all(good) { "ok" } else { "not ok" };
        assert!(lines[end].starts_with(&format!("{word} ")), "{}", lines[end]);
        assert!(lines[end].contains(&format!(" - {name}")), "{}", lines[end]);
        read.extend(of_group);
        blocks.extend(yaml);
        at = end;
    }
    block(&top, "");
    (read, blocks)
}

/// KTAP as the kernel's parser reads it: leading blanks are nothing to it, and any line may be a plan, a result or the
/// head of a subtest.
pub fn ktap(report: &str) -> Vec<Read> {
    let lines = lines(report);
    assert_eq!(lines[0], "KTAP version 1");
    let mut read = Vec::new();
    let mut plans = 0;
    for line in &lines[1..] {
        let text = line.trim_start();
        assert!(!text.starts_with("# Subtest: "), "{line:?}");
        assert!(!text.starts_with("TAP version ") && !text.starts_with("KTAP version "));
        for end in ["Kernel panic - not syncing: VFS:", "reboot: System halted", "List of all partitions:"] {
            assert!(!line.contains(end), "{line:?}");
        }
        if text.starts_with("1..") {
            plans += 1;
        } else if let Some(result) = result(text, read.len() + 1, "") {
            read.push(result);
        } else {
            assert!(line.starts_with("# "), "{line:?}");
        }
    }
    assert_eq!(plans, 1);
    read
}

/// JUnit's test cases, each with its child element and that one's type.
pub fn junit(report: &str) -> Vec<Read> {
    let document = roxmltree::Document::parse(report).expect("XML");
    document
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
        .map(|node| {
            let results = ["skipped", "failure", "error"];
            let word = node.children().find(|child| results.contains(&child.tag_name().name())).map(|child| {
                let kind = child.attribute("type").unwrap_or_default();
                format!("{} {kind}", child.tag_name().name())
            });
            let name = node.attribute("name").expect("a name");
            Read::new(name, word.unwrap_or_default().trim_end())
        })
        .collect()
}

/// KCIDB's tests.
pub fn kcidb(report: &str) -> Vec<Read> {
    let report: serde_json::Value = serde_json::from_str(report).expect("JSON");
    let tests = report["tests"].as_array().expect("tests");
    tests
        .iter()
        .map(|test| {
            let path = test["path"].as_str().expect("a path");
            let status = test["status"].as_str().expect("a status");
            let known = test["misc"].get("known_bug").is_some();
            let word = format!("{status} {}", if known { "known" } else { "" });
            Read::new(path.strip_prefix("harness.").expect("the root"), word.trim_end())
        })
        .collect()
}

/// LAVA's signals, wherever they stand, as its dispatcher's pattern finds them.
pub fn lava(report: &str) -> Vec<Read> {
    report
        .split("<LAVA_SIGNAL_")
        .skip(1)
        .map(|signal| {
            let (signal, _) = signal.split_once('>').expect("an end");
            let field = |name: &str| {
                let mut words = signal.split(' ');
                let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                value.unwrap_or_else(|| panic!("{name} in {signal:?}")).to_owned()
            };
            assert!(signal.starts_with("TESTCASE "), "{signal:?}");
            Read::new(&field("TEST_CASE_ID"), &field("RESULT"))
        })
        .collect()
}

fn parsed(block: &str) -> yaml_rust2::Yaml {
    let mut documents =
        yaml_rust2::YamlLoader::load_from_str(block).unwrap_or_else(|error| panic!("{error} in {block:?}"));
    assert_eq!(documents.len(), 1, "{block:?}");
    documents.remove(0)
}

pub fn all_are_mappings(blocks: &[String]) -> bool {
    blocks.iter().all(|block| parsed(block).as_hash().is_some())
}

/// The values of a field in those blocks that have it.
pub fn fields(blocks: &[String], name: &str) -> Vec<String> {
    blocks
        .iter()
        .filter_map(|block| match &parsed(block)[name] {
            yaml_rust2::Yaml::BadValue => None,
            yaml_rust2::Yaml::String(text) | yaml_rust2::Yaml::Real(text) => Some(text.clone()),
            yaml_rust2::Yaml::Integer(number) => Some(number.to_string()),
            other => panic!("{other:?}"),
        })
        .collect()
}
