//! Completions and manual pages have every command.

mod driver;

use std::process::Command;

/// The names of all visible commands, those of commands with `-` between.
fn commands(command: &clap::Command, before: &str) -> Vec<String> {
    let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    visible
        .flat_map(|command| {
            let name = format!("{before}{}", command.get_name());
            let mut names = commands(command, &format!("{name}-"));
            names.insert(0, name);
            names
        })
        .collect()
}

/// What a command prints that succeeds.
fn run(arguments: &[&str]) -> String {
    let output = driver::run(arguments);
    assert!(output.status.success(), "{arguments:?}");
    driver::text(&output)
}

#[test]
fn every_command_can_be_completed() {
    let names = commands(&runners::cli::command(), "");
    assert!(names.len() > 10, "{names:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        for name in names.iter().filter(|name| runners::cli::command().find_subcommand(name).is_some()) {
            assert!(script.contains(name.as_str()), "{name} in {shell}");
        }
        assert!(script.contains("kcidb-origin"), "options in {shell}");
    }
}

#[test]
fn bash_takes_its_completions() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("completions");
    std::fs::write(&path, run(&["completions", "bash"])).expect("written");
    let status = Command::new("bash").arg("-n").arg(&path).status();
    assert!(status.expect("bash is installed").success());
}

#[test]
fn every_command_has_its_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("man1");
    run(&["man", path.to_str().expect("UTF-8")]);
    for name in commands(&runners::cli::command(), "") {
        let page = std::fs::read_to_string(path.join(format!("unshare-conformance-{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".TH") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    let whole = run(&["man"]);
    for name in commands(&runners::cli::command(), "")
        .iter()
        .filter(|name| runners::cli::command().find_subcommand(name).is_some())
    {
        let escaped = name.replace('-', "\\-");
        assert!(whole.contains(&escaped), "{name}");
    }
}

#[test]
fn pages_go_to_no_directory_that_was_misspelt() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("mna");
    driver::expect(
        &["man".as_ref(), missing.join("man1").as_os_str()],
        129,
        "mna/man1 cannot be written (give another path)",
    );
    assert!(!missing.exists());
}

#[test]
fn the_document_of_faults_is_of_this_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
    let text = std::fs::read_to_string(path).expect("it is there");
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
