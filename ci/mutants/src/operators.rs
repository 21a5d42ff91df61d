//! The mutants of one function: what is changed, and the text that changes it.
//!
//! A mutant is an insertion: the original text stays, so that a line of the instrumented file is the same line of the
//! original, and mutants can be nested.

use serde::{Deserialize, Serialize};
use tree_sitter::Node;

/// What a mutant changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// A condition, an operand of && or the value of a returned comparison is true, whatever it says. It is evaluated.
    True,
    /// The same with false, and for operands of ||.
    False,
    /// A statement is left out: a call, an assignment or an increment.
    LeftOut,
    /// An error is another one: EXDEV, which none of these functions gives.
    Errno,
    /// A flag is missing from a set of flags.
    FlagDropped,
    /// A bound is moved by one, such that the comparison judges its equal differently.
    Bound,
}

impl Operator {
    /// Its name in keys of mutants and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Operator::True => "true",
            Operator::False => "false",
            Operator::LeftOut => "left-out",
            Operator::Errno => "errno",
            Operator::FlagDropped => "flag-dropped",
            Operator::Bound => "bound",
        }
    }
}

/// A place for one mutant, or for the two of a condition.
#[derive(Debug)]
pub struct Site {
    /// The mutants, in the order of their numbers.
    pub operators: Vec<Operator>,
    /// Byte offsets of the text that the insertions enclose.
    pub start: usize,
    /// Its end.
    pub end: usize,
    /// Its line, from 1.
    pub line: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Condition,
    Statement,
    Errno,
    Flag,
    /// The right operand of a comparison, and the sign of the step.
    Bound(char),
}

impl Site {
    /// What is inserted before and after the text, for mutants numbered from `id`.
    pub fn insertions(&self, id: usize, scope: &str) -> (String, String) {
        match self.kind {
            Kind::Condition => {
                let which = match self.operators[..] {
                    [Operator::True] => "MUTANT_TRUE",
                    [Operator::False] => "MUTANT_FALSE",
                    _ => "MUTANT_TRUE | MUTANT_FALSE",
                };
                (format!("mutant_condition({id}, {scope}, {which}, !!("), "))".to_owned())
            }
            // With its own else, so that an else that follows still belongs to what it belonged to.
            Kind::Statement => (format!("if (mutant({id}, {scope})) ; else "), String::new()),
            Kind::Errno => (format!("mutant_errno({id}, {scope}, "), ")".to_owned()),
            Kind::Flag => (format!("mutant_flag({id}, {scope}, "), ")".to_owned()),
            Kind::Bound(sign) => ("((".to_owned(), format!(") {sign} mutant_step({id}, {scope}))")),
        }
    }
}

/// Calls that are not left out: locks and the order of memory accesses, whose absence shows in races alone (lockdep and
/// KCSAN look for those); what checks and prints; what declares variables or reads as a call and is none.
const KEPT_CALLS: [&str; 37] = [
    "spin_",
    "raw_spin_",
    "mutex_",
    "down_",
    "up_",
    "read_lock",
    "read_unlock",
    "write_lock",
    "write_unlock",
    "read_seq",
    "write_seq",
    "seqcount_",
    "rcu_read_",
    "lock_",
    "unlock_",
    "namespace_lock",
    "namespace_unlock",
    "task_lock",
    "task_unlock",
    "preempt_",
    "local_irq_",
    "cond_resched",
    "might_",
    "lockdep_",
    "trace_",
    "pr_",
    "printk",
    "barrier",
    "smp_",
    "prefetch",
    "guard",
    "scoped_guard",
    "sem_lock",
    "sem_unlock",
    "net_dbg",
    "synchronize_",
    "rcu_barrier",
];

/// Conditions with these words are not touched: the compiler decides them, or they report what cannot be.
const KEPT_CONDITIONS: [&str; 9] = [
    "IS_ENABLED",
    "WARN",
    "BUG_ON",
    "static_branch",
    "static_key",
    "__builtin",
    "IS_BUILTIN",
    "unprivileged_userns_clone",
    "_ONCE(1",
];

/// Declarations and calls in which an expression must be constant, or is not evaluated.
const CONSTANT: [&str; 6] = ["BUILD_BUG_ON", "sizeof", "static_assert", "offsetof", "container_of", "typeof"];

/// The sites of a function, in the order of the text; those that enclose others come first.
pub fn sites(function: Node, source: &str) -> Vec<Site> {
    let mut sites = Vec::new();
    if let Some(body) = function.child_by_field_name("body") {
        visit(body, source, &mut sites);
    }
    sites.sort_by_key(|site| (site.start, std::cmp::Reverse(site.end)));
    sites
}

fn text<'s>(node: Node, source: &'s str) -> &'s str {
    &source[node.byte_range()]
}

fn children(node: Node) -> Vec<Node> {
    (0..node.child_count()).filter_map(|index| node.child(index as _)).collect()
}

fn visit(node: Node, source: &str, sites: &mut Vec<Site>) {
    let mut add = |node: Node, kind: Kind, operators: &[Operator]| {
        sites.push(Site {
            operators: operators.to_vec(),
            start: node.start_byte(),
            end: node.end_byte(),
            line: node.start_position().row + 1,
            kind,
        });
    };
    let both = [Operator::True, Operator::False];
    match node.kind() {
        "if_statement" => {
            let condition = node.child_by_field_name("condition").and_then(inside);
            if let Some(condition) = condition.filter(|condition| may_be_forced(*condition, source)) {
                add(condition, Kind::Condition, &both);
            }
        }
        // Forced true, a loop does not end.
        "while_statement" | "do_statement" => {
            let condition = node.child_by_field_name("condition").and_then(inside);
            if let Some(condition) = condition.filter(|condition| may_be_forced(*condition, source)) {
                add(condition, Kind::Condition, &[Operator::False]);
            }
        }
        "for_statement" => {
            let condition = node.child_by_field_name("condition");
            if let Some(condition) = condition.filter(|condition| may_be_forced(*condition, source)) {
                add(condition, Kind::Condition, &[Operator::False]);
            }
        }
        "conditional_expression" => {
            let condition = node.child_by_field_name("condition");
            if let Some(condition) = condition.filter(|condition| may_be_forced(*condition, source)) {
                add(condition, Kind::Condition, &both);
            }
        }
        "return_statement" => {
            let value = children(node).into_iter().find(|child| child.is_named());
            if let Some(value) = value.filter(|value| is_truth(*value, source) && may_be_forced(*value, source)) {
                add(value, Kind::Condition, &both);
            }
        }
        "binary_expression" => binary(node, source, &mut add),
        "unary_expression" if text(node, source).starts_with("-E") => {
            let name = text(node, source).trim_start_matches('-');
            if name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
                add(node, Kind::Errno, &[Operator::Errno]);
            }
        }
        "expression_statement" if may_be_left_out(node, source) => add(node, Kind::Statement, &[Operator::LeftOut]),
        _ => {}
    }
    // The condition of an #if is not the compiler's.
    let directive = node.child_by_field_name("condition").filter(|_| node.kind().starts_with("preproc"));
    for child in children(node).into_iter().filter(|child| Some(*child) != directive) {
        let constant = match child.kind() {
            "case_statement" => {
                // The label is constant, what follows is not.
                for part in children(child).into_iter().skip_while(|part| part.kind() != ":").skip(1) {
                    visit(part, source, sites);
                }
                true
            }
            "sizeof_expression" | "type_descriptor" | "attribute_specifier" => true,
            "declaration" => text(child, source).trim_start().starts_with("static"),
            "call_expression" => {
                let name = child.child_by_field_name("function").map_or("", |name| text(name, source));
                CONSTANT.iter().any(|constant| name.starts_with(constant))
                    || name.contains("WARN")
                    || name.contains("BUG")
            }
            _ => false,
        };
        if !constant {
            visit(child, source, sites);
        }
    }
}

/// What parentheses enclose.
fn inside(node: Node) -> Option<Node> {
    match node.kind() {
        "parenthesized_expression" => children(node).into_iter().find(|child| child.is_named()),
        _ => Some(node),
    }
}

fn binary(node: Node, source: &str, add: &mut impl FnMut(Node, Kind, &[Operator])) {
    let (Some(left), Some(operator), Some(right)) =
        (node.child_by_field_name("left"), node.child_by_field_name("operator"), node.child_by_field_name("right"))
    else {
        return;
    };
    match operator.kind() {
        // The other value of an operand decides the whole, which is a mutant of its own.
        "&&" | "||" => {
            let forced = if operator.kind() == "&&" { Operator::True } else { Operator::False };
            for operand in [left, right] {
                // An operand that is itself such an expression with the same operator is not one of the parts.
                let same = inside(operand).is_some_and(|inner| {
                    inner.kind() == "binary_expression"
                        && inner.child_by_field_name("operator").is_some_and(|inner| inner.kind() == operator.kind())
                });
                if !same && may_be_forced(operand, source) {
                    add(operand, Kind::Condition, &[forced]);
                }
            }
        }
        "|" => {
            for operand in [left, right] {
                if is_flag(operand, source) {
                    add(operand, Kind::Flag, &[Operator::FlagDropped]);
                }
            }
        }
        "<" | ">=" if may_be_forced(node, source) => add(right, Kind::Bound('+'), &[Operator::Bound]),
        ">" | "<=" if may_be_forced(node, source) => add(right, Kind::Bound('-'), &[Operator::Bound]),
        _ => {}
    }
}

/// A constant whose name is that of a flag. Those of allocations say how memory is found, which nobody sees.
fn is_flag(node: Node, source: &str) -> bool {
    let name = text(node, source);
    node.kind() == "identifier"
        && name.contains('_')
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && !["GFP_", "__GFP_", "SLAB_HWCACHE", "SLAB_PANIC"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the value of an expression is true or false.
fn is_truth(node: Node, source: &str) -> bool {
    match node.kind() {
        "binary_expression" => node
            .child_by_field_name("operator")
            .is_some_and(|operator| ["&&", "||", "==", "!=", "<", ">", "<=", ">="].contains(&operator.kind())),
        "unary_expression" => text(node, source).starts_with('!'),
        _ => false,
    }
}

fn may_be_forced(node: Node, source: &str) -> bool {
    let text = text(node, source);
    !node.has_error() && !KEPT_CONDITIONS.iter().any(|kept| text.contains(kept)) && !matches!(text, "1" | "0" | "true")
}

fn may_be_left_out(node: Node, source: &str) -> bool {
    let text = text(node, source);
    // A macro that begins a loop reads as a call without its semicolon.
    if node.has_error() || !text.ends_with(';') {
        return false;
    }
    let Some(expression) = node.named_child(0) else { return false };
    match expression.kind() {
        "assignment_expression" | "update_expression" => true,
        "call_expression" => {
            let Some(function) = expression.child_by_field_name("function") else { return false };
            let name = &source[function.byte_range()];
            !name.starts_with(|first: char| first.is_ascii_uppercase())
                && !name.contains("WARN")
                && !KEPT_CALLS.iter().any(|kept| name.starts_with(kept))
                && function.kind() != "call_expression"
        }
        _ => false,
    }
}
