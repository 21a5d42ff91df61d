//! What `--format json` writes is what its published schema says, and nothing beyond.

mod driver;

use driver::Value;

const SCHEMA: &str = include_str!("../../harness/schema/results-1.schema.json");

/// The schema with no room for members that it does not describe. Readers are told to ignore such
/// members; this program must not write them.
fn strict(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            members.values_mut().for_each(|member| *member = strict(member.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = strict(item.take())),
        _ => {}
    }
    schema
}

fn lines(arguments: &[&str]) -> Vec<Value> {
    let output = driver::run(&[arguments, &["--format", "json"]].concat());
    driver::text(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn good_and_bad_runs_are_as_the_schema_says() {
    let schema = serde_json::from_str(SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&strict(schema)).expect("a schema");
    for arguments in [&["flags.", "separation.mnt"][..], &["selftest"], &["flags.", "--shard", "2/3"]] {
        for line in lines(arguments) {
            let errors: Vec<_> =
                validator.iter_errors(&line).map(|error| format!("{error} at {}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{errors:?} in {line}");
        }
    }
}

#[test]
fn a_line_that_lacks_something_is_none_of_the_schema() {
    let schema = serde_json::from_str(SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for line in lines(&["selftest", "--exact", "selftest.fail"]) {
        assert!(validator.is_valid(&line), "{line}");
        for member in line.as_object().expect("an object").keys() {
            let mut less = line.clone();
            less.as_object_mut().expect("an object").remove(member);
            assert!(!validator.is_valid(&less), "without {member}: {less}");
        }
    }
}

#[test]
fn the_schema_is_of_the_version_that_is_written() {
    assert_eq!(lines(&["selftest", "--exact", "selftest.pass"])[0]["schema"], harness::report::SCHEMA);
    assert!(SCHEMA.contains(&format!("\"urn:unshare-conformance:results:{}\"", harness::report::SCHEMA)));
}
