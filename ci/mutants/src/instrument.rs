//! A source tree with all mutants: the kernel's own, with insertions in the functions of `functions.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tree_sitter::{Node, Parser};

use crate::functions::{self, Scope};
use crate::operators::{self, Operator};

/// Where the list of mutants stands in an instrumented tree.
pub const LIST: &str = "mutants.json";

/// One mutant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mutant {
    /// Its number in this tree: what `mutant=` on the kernel command line switches on.
    pub id: usize,
    /// Its name from one release to the next: file, function, operator, and the how manyth of these.
    pub key: String,
    /// The file, as a path in the tree.
    pub file: String,
    /// The function.
    pub function: String,
    /// The line, from 1, as in the kernel's own file.
    pub line: usize,
    /// What is changed.
    pub operator: Operator,
    /// Where it is in effect.
    pub scope: Scope,
}

/// Puts the mutants into a tree, in place.
///
/// # Errors
/// The tree is instrumented already, lacks a function, or cannot be written.
pub fn instrument(tree: &Path) -> Result<Vec<Mutant>> {
    ensure!(
        !tree.join(LIST).exists(),
        "{} is instrumented already: take a fresh copy of the kernel's source",
        tree.display()
    );
    let mut mutants = Vec::new();
    for (file, functions) in functions::all()? {
        let path = tree.join(&file);
        let source = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let changed = file_with_mutants(&file, &source, &functions, &mut mutants)?;
        fs::write(&path, changed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    add_switch(tree, mutants.len())?;
    let list = serde_json::to_string_pretty(&mutants).context("mutants as JSON")?;
    fs::write(tree.join(LIST), list).context("cannot write the list of mutants")?;
    Ok(mutants)
}

/// The text of a file with its mutants, which are added to the list.
fn file_with_mutants(
    file: &str,
    source: &str,
    functions: &BTreeMap<String, Scope>,
    mutants: &mut Vec<Mutant>,
) -> Result<String> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_c::LANGUAGE.into()).context("the grammar of C")?;
    let parsed = parser.parse(source, None).context("C that cannot be parsed")?;
    let mut found = Vec::new();
    definitions(parsed.root_node(), source, &mut found);
    // Position, and what orders insertions at the same position: ends of inner texts, ends of outer ones, beginnings of
    // outer texts, beginnings of inner ones.
    let mut insertions: Vec<((usize, i64), String)> = Vec::new();
    let mut counts: BTreeMap<(String, Operator), usize> = BTreeMap::new();
    for (name, scope) in functions {
        let mut known = false;
        for (_, function) in found.iter().filter(|(found, _)| found == name) {
            known = true;
            for site in operators::sites(*function, source) {
                let id = mutants.len() + 1;
                for (nth, operator) in site.operators.iter().enumerate() {
                    let count = counts.entry((name.clone(), *operator)).or_default();
                    *count += 1;
                    mutants.push(Mutant {
                        id: id + nth,
                        key: format!("{file}:{name}:{}:{count}", operator.name()),
                        file: file.to_owned(),
                        function: name.clone(),
                        line: site.line,
                        operator: *operator,
                        scope: *scope,
                    });
                }
                let (before, after) = site.insertions(id, scope.in_c());
                insertions.push(((site.start, i64::MAX - site.end as i64), before));
                insertions.push(((site.end, -(site.start as i64) - 1), after));
            }
        }
        if !known {
            bail!("{file} has no function {name}: functions.toml is for another release");
        }
    }
    insertions.sort_by_key(|(place, _)| *place);
    let mut text = "#include <linux/mutants.h>\n#line 1\n".to_owned();
    let mut done = 0;
    for ((position, _), inserted) in insertions {
        text += &source[done..position];
        text += &inserted;
        done = position;
    }
    text += &source[done..];
    Ok(text)
}

/// All functions that are defined at any level, with their names.
fn definitions<'t>(node: Node<'t>, source: &str, found: &mut Vec<(String, Node<'t>)>) {
    if node.kind() == "function_definition" {
        let mut declarator = node.child_by_field_name("declarator");
        while let Some(inner) = declarator {
            if inner.kind() == "identifier" {
                found.push((source[inner.byte_range()].to_owned(), node));
                break;
            }
            declarator = inner.child_by_field_name("declarator");
        }
    }
    for index in 0..node.child_count() {
        if let Some(child) = node.child(index as _) {
            definitions(child, source, found);
        }
    }
}

/// Adds what switches mutants on.
fn add_switch(tree: &Path, mutants: usize) -> Result<()> {
    let write =
        |path: &str, text: &str| fs::write(tree.join(path), text).with_context(|| format!("cannot write {path}"));
    write("include/linux/mutants.h", include_str!("../kernel/mutants.h"))?;
    write("kernel/mutants.c", include_str!("../kernel/mutants.c"))?;
    write("kernel/mutants-count.h", &format!("#define MUTANTS {mutants}\n"))?;
    replace(tree, "kernel/Makefile", "obj-y     =", "obj-y     = mutants.o")?;
    let mark = "\tunsigned char\t\t\tmutant_marked;\n\tunsigned char\t\t\tmutant_in_call;\n";
    let nsproxy = "\tstruct nsproxy\t\t\t*nsproxy;\n";
    replace(tree, "include/linux/sched.h", nsproxy, &format!("{nsproxy}{mark}"))?;
    replace(tree, "kernel/fork.c", "return ksys_unshare(unshare_flags);", "return mutants_unshare(unshare_flags);")
}

/// Replaces the one occurrence of a text in a file.
fn replace(tree: &Path, path: &str, from: &str, to: &str) -> Result<()> {
    let path = tree.join(path);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.matches(from).count() == 1, "{} does not have {from:?} once: another release?", path.display());
    fs::write(&path, text.replacen(from, to, 1)).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a function with its mutants, without what is put at the head of its file.
    fn mutated(source: &str) -> (String, Vec<Mutant>) {
        let functions = BTreeMap::from([("f".to_owned(), Scope::Call)]);
        let mut mutants = Vec::new();
        let text = file_with_mutants("a.c", source, &functions, &mut mutants).unwrap();
        (text.split_once("#line 1\n").unwrap().1.to_owned(), mutants)
    }

    #[test]
    fn conditions_are_forced_after_they_are_evaluated() {
        let (text, mutants) = mutated("int f(int a) { if (a) return g(a); return 0; }");
        let condition = "if (mutant_condition(1, MUTANT_CALL, MUTANT_TRUE | MUTANT_FALSE, !!(a)))";
        assert!(text.contains(condition), "{text}");
        let keys: Vec<_> = mutants.iter().map(|mutant| mutant.key.as_str()).collect();
        assert_eq!(keys, ["a.c:f:true:1", "a.c:f:false:1"]);
    }

    #[test]
    fn operands_are_forced_to_what_does_not_decide() {
        let (text, _) = mutated("int f(int a) { return a && !b; }");
        let operands = "mutant_condition(3, MUTANT_CALL, MUTANT_TRUE, !!(a)) && mutant_condition(4, MUTANT_CALL, MUTANT_TRUE, !!(!b))";
        assert!(text.contains(operands), "{text}");
    }

    #[test]
    fn an_else_stays_where_it_belongs() {
        let (text, _) = mutated("int f(int a) { if (a) g(); else h(); return 0; }");
        assert!(
            text.contains("if (mutant(3, MUTANT_CALL)) ; else g(); else if (mutant(4, MUTANT_CALL)) ; else h();"),
            "{text}"
        );
    }

    #[test]
    fn errors_flags_and_bounds_change() {
        let (text, mutants) = mutated("int f(int a) { x = A_B | C_D; while (a < 3) a++; return -EINVAL; }");
        assert!(text.contains("mutant_flag(2, MUTANT_CALL, A_B) | mutant_flag(3, MUTANT_CALL, C_D)"), "{text}");
        assert!(text.contains("a < ((3) + mutant_step(5, MUTANT_CALL))"), "{text}");
        assert!(text.contains("return mutant_errno(7, MUTANT_CALL, -EINVAL);"), "{text}");
        assert_eq!(mutants.len(), 7);
    }

    #[test]
    fn locks_warnings_and_constants_are_left_alone() {
        let (text, mutants) = mutated(
            "int f(int a) { spin_lock(&l); WARN_ON(a < 1); BUILD_BUG_ON(A_B | C_D); switch (a) { case A_B | C_D: break; } \
             static int b = 1 < 2; list_for_each_entry(p, &q, r) { } return 0; }",
        );
        assert!(mutants.is_empty(), "{text}");
    }

    #[test]
    fn lines_stay_the_same() {
        let source = "int g(void)\n{\n}\nint f(int a)\n{\n\tif (a)\n\t\treturn -EPERM;\n}\n";
        let (text, mutants) = mutated(source);
        assert_eq!(text.lines().count(), source.lines().count());
        assert_eq!(mutants.iter().map(|mutant| mutant.line).collect::<Vec<_>>(), [6, 6, 7]);
    }

    #[test]
    fn a_function_that_is_not_there_is_named() {
        let functions = BTreeMap::from([("f".to_owned(), Scope::Call)]);
        let error = file_with_mutants("a.c", "int g(void) { }", &functions, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "a.c has no function f: functions.toml is for another release");
    }
}
