//! Asks a hung guest for the stacks of its tasks.
//!
//! SysRq first, sent to the console as a break, or Control-O, and a letter: it prints the stacks of all tasks, as long
//! as interrupts are served. Then, on the machines that have one, a non-maskable interrupt: a kernel of x86 with
//! `unknown_nmi_panic`, or of powerpc, panics and prints the stack of the stuck CPU. Both through QMP, QEMU's control
//! protocol, which also reports the registers.

use serde_json::{Value, json};
use vm::machine::SysRq;

use super::console::ConsoleLog;
use super::process::Machine;
use super::session::{self, Input};
use crate::prelude::*;

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a kernel may take to begin its answer, and the pause that ends it.
const REACTION: Duration = Duration::from_millis(1500);
/// The longest time of an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// The requests: print everything; the stacks of all tasks, of blocked ones, of the CPUs.
const REQUESTS: [char; 4] = ['8', 't', 'w', 'l'];

/// Makes the guest print the stacks of its tasks into the console file. Describes the outcome; `None` if the
/// guest went on after all, and its output is back in the machine's queue.
pub fn ask_for_stacks(machine: &mut Machine, console: &mut ConsoleLog) -> Option<String> {
    let Some(stream) = machine.monitor.as_ref().map(UnixStream::try_clone) else {
        return Some("this machine cannot dump its tasks' stacks".to_owned());
    };
    match stream.and_then(Monitor::connect) {
        Ok(mut monitor) => ask(machine, &mut monitor, console),
        Err(error) => Some(format!("QEMU does not respond either ({error})")),
    }
}

fn ask(machine: &mut Machine, monitor: &mut Monitor, console: &mut ConsoleLog) -> Option<String> {
    // Before the requests change them.
    match monitor.execute("human-monitor-command", &json!({"command-line": "info registers -a"})) {
        Ok(registers) => console.note(registers.as_str().unwrap_or_default()),
        Err(error) => console.note(&format!("no registers: {error}")),
    }
    let mut news = Vec::new();
    let answered = sysrq(machine, monitor, console, &mut news);
    if !news.is_empty() {
        machine.put_back(news);
        return None;
    }
    if answered {
        return Some("its tasks' stacks are on the console (SysRq)".to_owned());
    }
    let text = if !machine.has_nmi {
        "it does not respond to SysRq, as if interrupts were off, and its machine has no NMI; its registers are in the \
         console file"
    } else if monitor.execute("inject-nmi", &Value::Null).is_ok() && answer(machine, console, &mut news, |_| true) {
        "it does not respond to SysRq, as if interrupts were off; the stack of the stuck CPU is on the console (NMI)"
    } else {
        "it responds to neither SysRq nor NMI; its registers are in the console file"
    };
    Some(text.to_owned())
}

/// Sends the requests to the first port that the kernel answers on; it need not be the console's.
fn sysrq(machine: &mut Machine, monitor: &mut Monitor, console: &mut ConsoleLog, news: &mut Vec<Input>) -> bool {
    for port in [Role::Console, Role::Results] {
        let answered = REQUESTS.iter().take_while(|&&letter| {
            request(machine, monitor, port, letter).is_ok()
                && answer(machine, console, news, |line| line.contains("sysrq: "))
        });
        // A kernel that stops half-way has not printed all stacks.
        if answered.count() == REQUESTS.len() {
            return true;
        }
    }
    false
}

fn request(machine: &mut Machine, monitor: &mut Monitor, port: Role, letter: char) -> io::Result<()> {
    let id = if port == Role::Results { "results" } else { "console" };
    let key = match machine.sysrq {
        Some(SysRq::ControlO) => "\u{f}",
        _ => {
            monitor.execute("chardev-send-break", &json!({"id": id}))?;
            ""
        }
    };
    write!(machine.keyboard(port).ok_or(ErrorKind::NotFound)?, "{key}{letter}")
}

/// Keeps the guest's output until it pauses; returns whether any line of it is an answer. `news` gets heartbeats,
/// which only a guest that does not hang sends, and its end.
fn answer(
    machine: &mut Machine,
    console: &mut ConsoleLog,
    news: &mut Vec<Input>,
    is_answer: impl Fn(&str) -> bool,
) -> bool {
    let end = Instant::now() + LONGEST_ANSWER;
    let mut answered = false;
    while Instant::now() < end {
        match machine.next(REACTION) {
            Some(Input::Line(role, line)) if session::is_sign_of_life(&line) => {
                news.push(Input::Line(role, line));
            }
            Some(Input::Line(_, line)) => {
                answered |= is_answer(&line);
                console.line(&line);
            }
            Some(input @ (Input::Signal(_) | Input::Ended(_))) => {
                news.push(input);
                break;
            }
            None => break,
        }
    }
    answered
}

/// QEMU's control protocol.
struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.execute("qmp_capabilities", &Value::Null)?;
        Ok(monitor)
    }

    /// Executes a command. The greeting and events before its answer are skipped.
    fn execute(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let mut request = json!({"execute": command});
        if !arguments.is_null() {
            request["arguments"] = arguments.clone();
        }
        writeln!(self.stream.get_mut(), "{request}")?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::Error::other("it closed the connection"));
            }
            let mut answer: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(error["desc"].to_string()));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }
}
