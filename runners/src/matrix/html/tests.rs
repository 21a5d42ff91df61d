use harness::run::record::{At, FailedCheck};

use super::*;
use crate::fixtures::{self, finished, run_started};

const HOSTILE: &str = "<script>alert(1)</script> & \"quotes\" \u{1b}[31m";

fn case(name: &str, id: &'static str) -> CaseInfo {
    fixtures::case(name, HOSTILE, &[id], [1; 3])
}

fn verdict(status: Status, call: &str, id: &str) -> Verdict {
    let mut verdict = Verdict::not_run(status, HOSTILE);
    verdict.duration = Duration::from_millis(7);
    if status == Status::Fail {
        verdict.failed.push(FailedCheck {
            call: call.to_owned(),
            expected: HOSTILE.to_owned(),
            actual: "EINVAL".to_owned(),
            requirement: id.to_owned(),
            task: None,
            at: At { file: "x.rs".into(), line: 1 },
        });
    }
    verdict
}

/// A kernel with these verdicts on three cases.
fn row(release: &str, statuses: [Status; 3]) -> Row {
    let cases = [case("flags.fs", "FLAG-09"), case("sweep.lone", "ATOM-01"), case("separation.mnt", "EFF-MNT-03")];
    let calls = ["unshare(CLONE_FS)", "unshare(CLONE_NEWNS|CLONE_NEWPID) by root", "mount()"];
    let mut row = Row::new("arch/x86/boot/bzImage");
    row.event(&run_started(release, Tier::Quick, cases.to_vec()));
    for (index, status) in statuses.into_iter().enumerate() {
        row.event(&finished(index, verdict(status, calls[index], &cases[index].proves[0])));
    }
    row.status = Some(if statuses.contains(&Status::Fail) { ExitStatus::DoesNotConform } else { ExitStatus::Conforms });
    row.elapsed = Duration::from_secs(1);
    row
}

fn attributes<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let start = format!(" {name}=\"");
    page.split(&*start).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect()
}

#[test]
fn every_link_leads_somewhere_and_nothing_is_fetched() {
    let rows = [row("7.3.4", [Status::Pass; 3]), row("5.10", [Status::Pass, Status::Fail, Status::Broken])];
    let page = page(&rows, 7, "quick");
    let ids: BTreeSet<_> = attributes(&page, "id").into_iter().collect();
    assert_eq!(ids.len(), attributes(&page, "id").len(), "an id is there twice");
    let links = attributes(&page, "href");
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(ids.contains(link.strip_prefix('#').unwrap()), "{link}");
    }
    for source in attributes(&page, "src") {
        assert!(source.starts_with("data:"), "{source}");
    }
    assert!(!page.contains("<script") && !page.contains("://"));
}

#[test]
fn text_is_no_markup_and_a_colour_never_alone() {
    for (statuses, expected) in [
        ([Status::Fail; 3], &["&lt;script&gt;alert(1)"][..]),
        ([Status::Pass, Status::Skip, Status::Fail], &["✓ pass", "– skipped", "✗ fail", "· no case"]),
    ] {
        let page = page(&[row("5.10", statuses)], 7, "quick");
        assert!(expected.iter().all(|text| page.contains(text)), "{expected:?}");
    }
}

#[test]
fn a_failure_is_told_with_its_requirement_and_picture() {
    let bad = row("5.10", [Status::Pass, Status::Fail, Status::Pass]);
    let page = page(&[bad], 7, "quick");
    let claim = &requirements::find("ATOM-01").unwrap().claim;
    let claim = html! { (claim) }.into_string();
    assert!(page.matches(&*claim).count() >= 2, "beside the map and in the failure");
    assert!(page.contains("8192 of 32768 flag sets"));
    assert!(page.contains("EINVAL"));
}
