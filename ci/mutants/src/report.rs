//! docs/mutants.md: what the recorded results say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::explained::{Explained, Explanation};
use crate::results::{Results, Tier, Verdict};

const HEAD: &str = "\
# Mutants of the kernel

What a wrong kernel can look like, made by a machine: in one kernel, each condition forced true or false, statement
left out, error changed, flag dropped or bound moved by one, in the functions that unshare(2) reaches and in those
that its effects rest on (`ci/mutants/functions.toml`). One is switched on, and the suite notices it or does not. How
it is done, and how to repeat it, is in [ci/mutants/README.md](../ci/mutants/README.md); `cargo run -p mutants report`
writes this page.

*Killed*: a run of the suite says that the kernel does not conform. *Equivalent*: no program can tell; each with its
reason. *Survived*: the rest. A mutant is named by its file, function and operator, and counted from the function's
beginning.
";

/// The document.
///
/// # Errors
/// The recorded results or explanations are not valid, or contradict each other.
pub fn text() -> Result<String> {
    let results = Results::read(&crate::recorded())?;
    let explained = Explained::read()?;
    let keys: BTreeSet<&str> = results.keys().collect();
    for key in explained.equivalent.iter().chain(&explained.survived).flat_map(|row| &row.mutants) {
        ensure!(keys.contains(key.as_str()), "explained.toml names {key}, which was not run");
        ensure!(
            results.verdict(key, Tier::Full) != Some(Verdict::Killed),
            "explained.toml excuses {key}, which is noticed"
        );
    }
    let equivalent: BTreeSet<&str> = explained.equivalent().collect();
    let others: Vec<&str> = keys.iter().copied().filter(|key| !equivalent.contains(key)).collect();

    let mut text = HEAD.to_owned();
    text += "\n## Result\n\n| | mutants | of those not equivalent |\n|---|---:|---:|\n";
    let share = |part: usize| format!("{:.1} %", 100.0 * part as f64 / others.len().max(1) as f64);
    let killed = |tier| others.iter().filter(|key| results.verdict(key, tier) == Some(Verdict::Killed)).count();
    let unsure = keys.iter().filter(|key| results.is_unsure(key)).count();
    writeln!(text, "| run | {} | |", keys.len())?;
    writeln!(text, "| equivalent | {} | |", equivalent.len())?;
    for tier in [Tier::Full, Tier::Quick] {
        writeln!(text, "| killed by the {} tier | {} | {} |", tier.name(), killed(tier), share(killed(tier)))?;
    }
    let missing = others.iter().filter(|key| results.verdict(key, Tier::Full).is_none()).count();
    if missing > 0 {
        writeln!(
            text,
            "| not run with the full tier yet, and not killed by the quick one | {missing} | {} |",
            share(missing)
        )?;
    }
    let survived: Vec<&str> =
        others.iter().copied().filter(|key| results.verdict(key, Tier::Full) != Some(Verdict::Killed)).collect();
    writeln!(text, "| survived | {} | {} |", survived.len(), share(survived.len()))?;
    writeln!(text, "| inconclusive (exit status 125) | {unsure} | |")?;

    text += "\n## By operator\n\n| operator | run | equivalent | killed, full | killed, quick | survived |\n|---|---:|---:|---:|---:|---:|\n";
    table(&mut text, &keys, &equivalent, &results, |key| key.split(':').nth(2).unwrap_or_default())?;
    text += "\n## By function\n\n| function | run | equivalent | killed, full | killed, quick | survived |\n|---|---:|---:|---:|---:|---:|\n";
    table(&mut text, &keys, &equivalent, &results, |key| {
        key.match_indices(':').nth(1).map_or(key, |(end, _)| &key[..end])
    })?;

    text += "\n## Survived\n\n";
    list(&mut text, &explained.survived)?;
    let named: BTreeSet<&str> = explained.survived.iter().flat_map(|row| &row.mutants).map(String::as_str).collect();
    let nameless: Vec<&str> = survived.into_iter().filter(|key| !named.contains(key)).collect();
    if !nameless.is_empty() {
        writeln!(text, "- Not looked at yet: {}", code(&nameless))?;
    }
    text += "\n## Equivalent\n\n";
    list(&mut text, &explained.equivalent)?;
    Ok(text)
}

fn code(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn list(text: &mut String, rows: &[Explanation]) -> Result<()> {
    for row in rows {
        let keys: Vec<_> = row.mutants.iter().map(String::as_str).collect();
        writeln!(text, "- {} {}", row.reason, code(&keys))?;
    }
    Ok(())
}

/// A row for each group of mutants.
fn table<'k>(
    text: &mut String,
    keys: &BTreeSet<&'k str>,
    equivalent: &BTreeSet<&str>,
    results: &Results,
    group: impl Fn(&'k str) -> &'k str,
) -> Result<()> {
    let mut groups: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for key in keys {
        let counts = groups.entry(group(key)).or_default();
        let killed = |tier| results.verdict(key, tier) == Some(Verdict::Killed);
        let is_equivalent = equivalent.contains(key);
        let survived = !is_equivalent && !killed(Tier::Full);
        for (count, is) in
            counts.iter_mut().zip([true, is_equivalent, killed(Tier::Full), killed(Tier::Quick), survived])
        {
            *count += usize::from(is);
        }
    }
    for (group, [run, equivalent, full, quick, survived]) in groups {
        writeln!(text, "| {group} | {run} | {equivalent} | {full} | {quick} | {survived} |")?;
    }
    Ok(())
}
