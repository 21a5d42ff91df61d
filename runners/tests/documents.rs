//! Completions and manual pages have every command, documents and lists every case that they are about.

mod driver;

use driver::{Command, Path, Place, fs};

/// The names of all visible commands, those of commands with `-` between.
fn commands(command: &clap::Command, before: &str) -> Vec<String> {
    let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    let named = visible.map(|command| (format!("{before}{}", command.get_name()), command));
    named.flat_map(|(name, command)| [vec![name.clone()], commands(command, &format!("{name}-"))].concat()).collect()
}

/// The names of those that are one word of the command line.
fn first_words() -> Vec<String> {
    let mut names = commands(&runners::cli::command(), "");
    names.retain(|name| runners::cli::command().find_subcommand(name).is_some());
    names
}

/// What a command prints that succeeds.
fn run(arguments: &[&str]) -> String {
    driver::text(&driver::exits(0, arguments))
}

#[test]
fn every_command_can_be_completed() {
    let names = first_words();
    assert!(names.len() > 10, "{names:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        for name in &names {
            assert!(script.contains(name.as_str()), "{name} in {shell}");
        }
        assert!(script.contains("kcidb-origin"), "options in {shell}");
    }
}

#[test]
fn bash_takes_its_completions() {
    let place = Place::new();
    let path = place.write("completions", run(&["completions", "bash"]));
    let status = Command::new("bash").args(["-n", &path]).status();
    assert!(status.expect("bash is installed").success());
}

#[test]
fn every_command_has_its_page() {
    let place = Place::new();
    run(&["man", &place.file("man1")]);
    for name in commands(&runners::cli::command(), "") {
        let page = place.read(&format!("man1/unshare-conformance-{name}.1"));
        assert!(page.contains(".TH") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    let whole = run(&["man"]);
    for name in first_words() {
        let escaped = name.replace('-', "\\-");
        assert!(whole.contains(&escaped), "{name}");
    }
}

#[test]
fn pages_go_to_no_directory_that_was_misspelt() {
    let place = Place::new();
    driver::expect(&["man", &place.file("mna/man1")], 129, "mna/man1 cannot be written (give another path)");
    assert!(!Path::new(&place.file("mna")).exists());
}

#[test]
fn the_document_of_faults_is_of_this_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
    let text = fs::read_to_string(path).expect("it is there");
    let rewrite = "write it anew: unshare-conformance faults matrix --markdown docs/faults.md";
    for fault in suite::fault::table::all() {
        let name = format!("`{}`", fault.name);
        assert!(text.contains(&name), "{name} is missing: {rewrite}");
    }
    let declared = suite::fault::declared::all();
    let told = declared.impossible.iter().map(|entry| &entry.instead);
    for told in told.chain(declared.left_out.iter().map(|entry| &entry.instead)) {
        assert!(text.contains(told.as_str()), "{told:?} is missing: {rewrite}");
    }
}

/// Who adds a group learns of the lists of groups here, not from a tool that only some machines can install.
#[test]
fn every_group_of_cases_is_in_the_lists_of_groups() {
    let mut groups: Vec<&str> = suite::cases::all().iter().map(harness::case::Case::group).collect();
    groups.dedup();
    assert!(groups.len() > 10, "{groups:?}");
    for (file, before, after) in [("README.md", "`", ".`"), ("ci/engines/kirk/unshare-conformance", " ", ".")] {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(file);
        let text = fs::read_to_string(path).expect("it is there");
        for group in &groups {
            let listed = format!("{before}{group}{after}");
            assert!(text.contains(&listed), "{file} does not have {listed}");
        }
    }
}

#[test]
fn the_document_of_manual_pages_is_of_this_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manual-pages.md");
    let written = run(&["coverage", "--manual-pages", "--format", "markdown"]);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, written).expect("the document can be written");
        return;
    }
    let text = fs::read_to_string(path).expect("it is there");
    for (number, (is, should)) in text.lines().zip(written.lines()).enumerate() {
        let rewrite = "run `UPDATE=1 cargo test -p runners --test documents`";
        assert_eq!(is, should, "docs/manual-pages.md:{}: {rewrite}", number + 1);
    }
    assert_eq!(text.len(), written.len(), "docs/manual-pages.md ends elsewhere");
}
