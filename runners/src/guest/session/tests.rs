use super::*;
use harness::case::items;
use harness::report::{Reporter, Wire};
use proptest::prelude::*;

use crate::fixtures::{self, run_started};
use crate::mutation::{config, mutated};

fn args() -> GuestArgs {
    Parser::parse_from([""])
}

fn plan() -> Vec<Item> {
    let case = |name, line| {
        let mut case = Case::declared_at("x.rs", line);
        case.name = name;
        case
    };
    let cases = [case("a.one", 1), case("a.two", 2), case("a.three", 3)];
    items(Box::leak(Box::new(cases)))
}

fn line(event: &Event) -> String {
    let mut line = Vec::new();
    Wire.event(event, &mut line).expect("memory");
    String::from_utf8(line).expect("text").trim_end().to_owned()
}

fn started() -> String {
    line(&run_started("", Tier::Quick, Vec::new()))
}

fn begin(index: usize) -> String {
    line(&Event::CaseStarted { index })
}

fn passed(index: usize) -> String {
    line(&fixtures::finished(index, Verdict::not_run(Status::Pass, "")))
}

fn finished() -> String {
    line(&Event::RunFinished { counts: Counts::default(), interrupted: None, milliseconds: 5 })
}

const PANIC: &str = "[    1.5][    T1] Kernel panic - not syncing: Fatal exception";
const WARNING: &str = "[    1.4] WARNING: CPU: 0 PID: 7 at kernel/fork.c:1 f+0x1/0x2";
const DEADLOCK: &str = "Kernel panic - not syncing: System is deadlocked on memory";
const GAVE_UP: &str = "unshare-conformance: cannot write the report: Input/output error";
const END: &str = "unshare-conformance: end status 0";

/// The verdicts among these events, in the order of the plan.
fn verdicts(events: &[Event]) -> Vec<&Verdict> {
    let finished = events.iter().filter_map(|event| match event {
        Event::CaseFinished { index, verdict, .. } => Some((*index, &**verdict)),
        _ => None,
    });
    let mut verdicts: Vec<_> = finished.collect();
    verdicts.sort_by_key(|(index, _)| *index);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// What a script of channel lines and an ending comes to: statuses in the order of the plan,
/// and the exit status.
fn play(script: &[(Role, String)], how: Option<MachineEnd>) -> (Vec<Status>, u8, Vec<Event>) {
    let mut session = Session::new(&plan(), &args(), false);
    session.console_options = "CONFIG_SERIAL_8250_CONSOLE=y".to_owned();
    let mut events: Vec<_> = script.iter().flat_map(|(role, line)| session.line(*role, line).events).collect();
    let ending = how
        .map_or(Ending::Silent { after: Duration::from_secs(60), stacks: String::new() }, |how| session.ending_of(how));
    let (last, exit) = session.end(&ending, false, Vec::new());
    events.extend(last);
    (verdicts(&events).iter().map(|verdict| verdict.status).collect(), exit.code(), events)
}

/// Plays a script, and checks what it comes to.
fn comes_to(script: &[(Role, String)], how: Option<MachineEnd>, expected: &[Status], code: u8) -> Vec<Event> {
    let (statuses, exit, events) = play(script, how);
    assert_eq!((statuses.as_slice(), exit), (expected, code));
    events
}

/// A run whose cases all passed, up to its last event.
fn all_passed() -> Vec<(Role, String)> {
    let cases = (0..3).flat_map(|index| [begin(index), passed(index)]);
    [started()].into_iter().chain(cases).chain([finished()]).map(results).collect()
}

fn results(line: impl Into<String>) -> (Role, String) {
    (Role::Results, line.into())
}

fn console(line: impl Into<String>) -> (Role, String) {
    (Role::Console, line.into())
}

/// A run whose first case has begun, and what is heard then.
fn in_first_case(then: (Role, String)) -> Vec<(Role, String)> {
    vec![results(started()), results(begin(0)), then]
}

fn ended() -> Option<MachineEnd> {
    Some(MachineEnd::Exited(0, String::new()))
}

#[test]
fn every_way_a_guest_can_end() {
    use Status::{Broken, Fail, Pass, TimedOut};
    let halfway = || [in_first_case(results(passed(0))), vec![results(begin(1))]].concat();
    let with = |script: Vec<_>, more: &[(Role, String)]| [script, more.to_vec()].concat();
    let killed = || Some(MachineEnd::Killed(9, String::new()));
    let refused = Some(MachineEnd::Exited(1, "no memory".to_owned()));
    let cut = passed(0);
    for (script, how, expected, code, told) in [
        (with(all_passed(), &[results(END)]), ended(), [Pass; 3], 0, ""),
        // The kernel's fault while a case ran.
        (with(halfway(), &[console(PANIC)]), ended(), [Pass, Fail, Broken], 1, ""),
        (halfway(), ended(), [Pass, Fail, Broken], 1, ""),
        (halfway(), None, [Pass, TimedOut, Broken], 1, ""),
        // A splat stands whoever ended the guest.
        (in_first_case(console(WARNING)), killed(), [Fail, Broken, Broken], 1, ""),
        // Results cut off in a line are a gap and not a verdict.
        (in_first_case(results(&cut[..cut.len() / 2])), ended(), [Fail, Broken, Broken], 1, ""),
        // Red even when every case has its result.
        (with(all_passed(), &[console(WARNING), results(END)]), ended(), [Pass; 3], 1, ""),
        (with(all_passed(), &[console(PANIC)]), ended(), [Pass; 3], 1, "the guest panicked"),
        // Not the kernel's.
        (halfway(), killed(), [Pass, Broken, Broken], 125, ""),
        (halfway(), refused, [Pass, Broken, Broken], 125, ""),
        (
            with(halfway(), &[console("Out of memory: Killed process 7 (init)")]),
            ended(),
            [Pass, Broken, Broken],
            125,
            "",
        ),
        (in_first_case(console(GAVE_UP)), ended(), [Broken; 3], 125, "gave up: cannot write the report"),
        // The panic is the kernel's, and told; but the ending says what to do.
        (in_first_case(console(DEADLOCK)), ended(), [Broken; 3], 125, ""),
    ] {
        let events = comes_to(&script, how, &expected, code);
        assert!(events.iter().any(|event| line(event).contains(told)), "{told}");
    }
    // Before the suite began: nothing can be said.
    let events = comes_to(&[console(PANIC)], ended(), &[], 125);
    assert!(matches!(&events[0], Event::BailedOut { why } if why.contains("panicked")));
    assert_eq!(play(&[], None).1, 125);
    // Where the console tells the cause, so does the reason.
    let refused = "userspace - ptrace set fp regs failed, errno = 14";
    let events = comes_to(&[console(refused), console(PANIC)], ended(), &[], 125);
    assert!(matches!(&events[0], Event::BailedOut { why } if why.contains("runs no program on this processor")));
}

#[test]
fn a_splat_that_no_verdict_tells_of_is_red() {
    let rest = [passed(0), passed(1), passed(2), finished(), END.to_owned()].map(results);
    let script = [in_first_case(console(WARNING)), rest.to_vec()].concat();
    let events = comes_to(&script, ended(), &[Status::Pass; 3], 1);
    assert!(events.iter().any(|event| matches!(event, Event::BailedOut { .. })));
    // At boot it is not this suite's business.
    let script = [vec![console(WARNING)], script[..2].to_vec(), script[3..].to_vec()].concat();
    assert_eq!(play(&script, ended()).1, 0);
}

#[test]
fn records_and_the_console_are_told_apart_on_every_channel() {
    for role in [Role::Console, Role::Results] {
        let mut session = Session::new(&plan(), &args(), false);
        let mixed = format!("[    0.5] random: crng init done{}", started());
        let heard = session.line(role, &mixed);
        assert_eq!(heard.events.len(), 1);
        assert!(heard.sign_of_life);
        assert_eq!(heard.text.unwrap(), "[    0.5] random: crng init done");
        assert!(session.began);
        let heard = session.line(role, PANIC);
        assert_eq!(heard.text.unwrap(), PANIC);
        assert!(!heard.sign_of_life && session.is_ending());
        session.line(role, END);
        assert!(session.end_status.is_some());
    }
}

#[test]
fn a_record_that_the_kernel_cut_in_two_is_put_together() {
    let mut session = Session::new(&plan(), &args(), false);
    session.line(Role::Console, &started());
    session.line(Role::Console, &begin(0));
    let record = passed(0);
    let (first, second) = record.split_at(record.len() - 5);
    let cut = format!("{first}[    1.234567] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x1");
    let heard = session.line(Role::Console, &cut);
    assert!(heard.text.unwrap().starts_with("[    1.234567] WARNING"));
    session.line(Role::Console, "[    1.234569]  ? f+0x1/0x2");
    // The other channel goes on meanwhile.
    assert_eq!(session.line(Role::Results, &begin(1)).events.len(), 1);
    let heard = session.line(Role::Console, second);
    assert!(matches!(heard.events.as_slice(), [Event::CaseFinished { index: 0, .. }]));
}

#[test]
fn lockups_of_a_guest_that_nobody_read_are_remarks() {
    const LOCKUP: &str = "[   40.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [unshare-conform:7]";
    let failed = |text: &str| {
        let mut verdict = Verdict::not_run(Status::Fail, format!("kernel log: {text}"));
        verdict.notes = vec![format!("kernel log: {text}")];
        line(&fixtures::finished(0, verdict))
    };
    for (stood_still, text, expected, code) in
        [(true, LOCKUP, Status::Skip, 0), (true, WARNING, Status::Fail, 1), (false, LOCKUP, Status::Fail, 1)]
    {
        let mut session = Session::new(&plan(), &args(), false);
        session.stood_still = stood_still.then_some(Duration::from_secs(20));
        let lines = [started(), begin(0), text.to_owned(), failed(text), begin(1), passed(1), begin(2), passed(2)];
        let lines = lines.into_iter().chain([finished(), END.to_owned()]);
        let events: Vec<_> = lines.flat_map(|line| session.line(Role::Console, &line).events).collect();
        let (_, exit) = session.end(&Ending::Complete(0), false, Vec::new());
        assert_eq!((verdicts(&events)[0].status, exit.code()), (expected, code), "{text}, {stood_still}");
        let remarked =
            events.iter().any(|event| matches!(event, Event::Remark { text } if text.contains("soft lockup")));
        assert_eq!(remarked, stood_still && text == LOCKUP);
    }
}

#[test]
fn what_a_guest_did_not_come_to_before_it_stopped_is_skipped() {
    let verdict = || line(&fixtures::finished(0, Verdict::not_run(Status::Fail, "expected 0, got EINVAL")));
    for (fail_fast, rest) in [(Some(1), Status::Skip), (Some(2), Status::Broken), (None, Status::Broken)] {
        let mut session = Session::new(&plan(), &args(), false);
        session.fail_fast = fail_fast;
        // The second was running, and was killed.
        for line in [started(), begin(0), begin(1), verdict(), finished(), END.to_owned()] {
            session.line(Role::Results, &line);
        }
        let (events, exit) = session.end(&Ending::Complete(1), false, Vec::new());
        let statuses: Vec<_> = verdicts(&events).iter().map(|verdict| verdict.status).collect();
        assert_eq!((statuses, exit.code()), (vec![rest; 2], 1), "{fail_fast:?}");
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// Lines of the kernel's on a console that carries the results, too: wherever they fall, nothing is lost.
    #[test]
    fn records_are_put_together_wherever_the_kernel_cuts(
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), any::<bool>()), 0..6),
    ) {
        let lines: Vec<String> = all_passed().into_iter().map(|(_, line)| line).chain([END.to_owned()]).collect();
        let mut text = lines.join("\n") + "\n";
        let mut at: Vec<_> = cuts.iter().map(|(index, by_task)| (index.index(text.len()), by_task)).collect();
        // From the last on: no line of the kernel's is cut itself.
        at.sort();
        for (at, by_task) in at.into_iter().rev() {
            text.insert_str(at, if *by_task { "[    1.234567][    T1] eth0: up\n" } else { "[   12.345678] eth0: up\n" });
        }
        let script: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(console).collect();
        let (statuses, exit, _) = play(&script, ended());
        prop_assert_eq!((statuses, exit), (vec![Status::Pass; 3], 0), "{}", text);
    }
}

#[test]
fn a_record_that_cannot_be_put_together_is_named_and_no_verdict() {
    // No time stamp tells where the kernel's line begins (printk.time=0).
    let mut script: Vec<_> = all_passed().into_iter().map(|(_, line)| console(line)).collect();
    let record = passed(1);
    let (first, second) = record.split_at(record.len() - 5);
    script[4] = console(format!("{first}eth0: up"));
    script.insert(5, console(second));
    script.push(console(END));
    let events = comes_to(&script, ended(), &[Status::Pass, Status::Broken, Status::Pass], 125);
    assert!(verdicts(&events)[1].reason.contains("1 of its lines were cut by the kernel's"));
}

#[test]
fn how_far_a_case_had_come_is_told_with_what_repeats_it() {
    let progress = line(&Event::Progress { index: 0, repetition: 6, done: 37, total: 50 });
    let script = [in_first_case(results(progress)), vec![console(PANIC)]].concat();
    let (.., events) = play(&script, ended());
    let notes = verdicts(&events)[0].notes.join("; ");
    assert!(notes.contains("37 of 50") && notes.contains("--seed 7 "), "{notes}");
}

#[test]
fn a_second_beginning_is_a_restart() {
    let mut session = Session::new(&plan(), &args(), true);
    session.line(Role::Results, &started());
    session.line(Role::Results, &begin(0));
    assert!(session.line(Role::Results, &started()).events.is_empty());
    assert!(session.restarted);
    let ending = session.ending_of(MachineEnd::Exited(0, String::new()));
    assert_eq!(ending, Ending::Vanished);
    assert_eq!(session.end(&ending, false, Vec::new()).1.code(), 1);
}

#[test]
fn a_kernel_that_is_a_process_can_crash() {
    let crash = || MachineEnd::Killed(libc::SIGSEGV, String::new());
    let kill = || MachineEnd::Killed(libc::SIGKILL, String::new());
    let user_mode = Session::new(&plan(), &args(), true);
    let other = Session::new(&plan(), &args(), false);
    assert!(!user_mode.ending_of(crash()).is_ours());
    assert!(user_mode.ending_of(kill()).is_ours());
    assert!(other.ending_of(crash()).is_ours());
}

#[test]
fn a_kernel_that_never_reached_the_suite_gets_a_hint() {
    let root = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)";
    let console_line = "[    0.1] Linux version 6.1";
    let refused = MachineEnd::Exited(1, "qemu: cannot allocate memory".to_owned());
    let gave_up = "unshare-conformance: the guest's proc cannot be mounted on /proc";
    for (script, how, expected) in [
        (vec![console(root)], ended(), "CONFIG_BLK_DEV_INITRD=y"),
        (vec![], ended(), "CONFIG_SERIAL_8250_CONSOLE=y"),
        (vec![], None, "CONFIG_SERIAL_8250_CONSOLE=y"),
        (vec![console(console_line)], None, "timed out after 60 s"),
        (vec![], Some(refused), "could not be started, status 1: qemu: cannot allocate memory"),
        (vec![console(gave_up)], ended(), "gave up: the guest's proc cannot be mounted"),
    ] {
        let events = comes_to(&script, how, &[], 125);
        assert!(matches!(events.last(), Some(Event::BailedOut { why }) if why.contains(expected)), "{events:?}");
    }
    let (.., events) = play(&[console(console_line)], ended());
    assert!(matches!(events.last(), Some(Event::BailedOut { why }) if !why.contains("CONFIG")), "{events:?}");
}

#[test]
fn prefixes_of_real_consoles() {
    for (line, text) in [
        ("[    1.234567] BUG: x", "BUG: x"),
        ("[    1.234567][    T1] BUG: x", "BUG: x"),
        ("<4>[    1.234567] BUG: x", "BUG: x"),
        ("BUG: x", "BUG: x"),
        ("[<0>] f+0x1", "[<0>] f+0x1"),
    ] {
        assert_eq!(without_prefix(line), text);
    }
}

proptest! {
    #![proptest_config(config(500))]

    /// Whatever a guest writes: no panic, and every case of the plan has one result once the suite began.
    #[test]
    fn any_lines_come_to_one_result_for_each_case(
        text in mutated(
            [
                started(), begin(0), WARNING.to_owned(), passed(0), begin(1),
                line(&Event::Progress { index: 1, repetition: 6, done: 37, total: 50 }),
                PANIC.to_owned(), passed(1), finished(), END.to_owned(),
            ]
            .join("\n"),
        ),
        single_channel: bool,
        end in 0..4_usize,
    ) {
        let script: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(at, line)| {
                let role = if single_channel || at % 3 == 0 { Role::Console } else { Role::Results };
                (role, line.to_owned())
            })
            .collect();
        let how = [None, ended(), Some(MachineEnd::Killed(9, text.clone())), Some(MachineEnd::Exited(1, text.clone()))];
        let (statuses, exit, events) = play(&script, how[end].clone());
        let began = events.iter().any(|event| matches!(event, Event::RunStarted { .. }));
        prop_assert_eq!(statuses.len(), if began { 3 } else { 0 });
        prop_assert!(began || exit == 125);
        prop_assert!(exit != 0 || statuses.iter().all(|status| matches!(status, Status::Pass | Status::Skip)));
    }
}

#[test]
fn a_flood_of_brackets_in_a_record_is_one_line_of_text() {
    let mut session = Session::new(&plan(), &args(), false);
    let flood = format!("{RECORD}{}", "[".repeat(1 << 20));
    assert!(session.line(Role::Results, &flood).text.is_some());
}

/// Whose entry expects the outcomes, and the exit status, of a guest that panics in its second case under this entry.
fn panicking_under(entry: &str) -> (Vec<(usize, Option<Affair>, bool)>, ExitStatus) {
    let own = crate::expectations::file::parse("f.toml", entry).unwrap();
    let mut session = Session::new(&plan(), &args(), false);
    session.expectations = Expectations::new(own, Vec::new);
    for (role, line) in [(Role::Results, started()), (Role::Results, begin(1)), (Role::Console, PANIC.to_owned())] {
        session.line(role, &line);
    }
    let ending = session.ending_of(MachineEnd::Exited(0, String::new()));
    let (events, exit) = session.end(&ending, false, Vec::new());
    let expected = |event: &Event| match event {
        Event::CaseFinished { index, verdict, outcome } => Some((*index, verdict.affair, outcome.entry().is_some())),
        _ => None,
    };
    (events.iter().filter_map(expected).collect(), exit)
}

#[test]
fn a_case_that_took_the_guest_along_may_be_expected_to() {
    let entry = "[[expect]]\ncases = \"a.*\"\nreason = \"x\"\n";
    let outcomes = |is_expected| vec![(0, None, false), (1, Some(Affair::Security), is_expected), (2, None, false)];
    // What the guest did not come to is not excused.
    let told = format!("{entry}kernel_log = true\n");
    assert_eq!(panicking_under(&told), (outcomes(true), ExitStatus::NothingToSay));
    assert_eq!(panicking_under(entry), (outcomes(false), ExitStatus::DoesNotConform));
}

#[test]
fn an_init_of_another_version_is_not_listened_to() {
    for (program, is_other) in [("unshare-conformance 9.9.9", true), ("", false)] {
        let mut session = Session::new(&plan(), &args(), false);
        session.program = program;
        let heard = session.line(Role::Results, &started());
        assert_eq!(
            (heard.events.is_empty(), session.is_of_other_version, session.began),
            (is_other, is_other, !is_other)
        );
    }
}
