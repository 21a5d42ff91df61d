//! The running kernel's log and taint, watched while cases run.
//!
//! Only what the kernel says itself counts: a record of another facility is of a program that wrote to /dev/kmsg. In a
//! guest of the run's own every report of it is the run's business. A shared host has other tenants: there a report
//! counts if it names a task of this program, and is a remark else.

use std::io::SeekFrom;
use std::os::unix::fs::OpenOptionsExt;

use crate::common::*;
use crate::place::facts::{TAINT_OF_OTHERS, taint};
use crate::run::splat::names_task;

/// What the kernel said of itself, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What counts against the cases that were running.
    pub splats: Vec<String>,
    /// What does not, since it is of others.
    pub remarks: Vec<String>,
}

impl News {
    /// Adds what came later.
    pub fn add(&mut self, more: &News) {
        self.splats.extend(more.splats.iter().cloned());
        self.remarks.extend(more.remarks.iter().cloned());
    }
}

/// Reads what the kernel logs from now on.
#[derive(Debug)]
pub struct KernelLog {
    log: Option<File>,
    taint: u64,
    reports: Reports,
}

impl KernelLog {
    /// Starts watching, in a guest of the run's own or on a shared host, where tasks of these names and of this
    /// program's are ours. Ordinary users usually may not read the log; then only the taint is watched.
    pub fn watch(own_kernel: bool, names: &[&str]) -> Self {
        let log = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .and_then(|mut log| log.seek(SeekFrom::End(0)).map(|_| log))
            .ok();
        let own = fs::read_to_string("/proc/self/comm").ok().map(|name| name.trim_end_matches('\n').to_owned());
        let names = own.into_iter().chain(names.iter().map(|&name| name.to_owned())).collect();
        Self { log, taint: taint(), reports: Reports { ours: (!own_kernel).then_some(names), open: Vec::new() } }
    }

    /// Whether the log itself can be read.
    pub fn is_readable(&self) -> bool {
        self.log.is_some()
    }

    /// What was logged since the last call, and what tainted the kernel.
    pub fn news(&mut self) -> News {
        let mut news = News::default();
        // Before the log: the kernel logs first and sets the taint then.
        let now = taint();
        self.read(&mut news);
        self.reports.pause(&mut news);
        self.tainted(now, &mut news);
        news
    }

    fn read(&mut self, news: &mut News) {
        let Some(log) = &mut self.log else {
            return;
        };
        let mut record = [0; 8192];
        loop {
            match log.read(&mut record) {
                Ok(0) => break,
                Ok(length) => self.reports.record(&String::from_utf8_lossy(&record[..length]), news),
                // Records were overwritten before they were read: continue with the oldest left.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    /// Tells of taint bits that were set since the last call. On a shared host the log says whose they are, if it can
    /// be read.
    fn tainted(&mut self, now: u64, news: &mut News) {
        let gained = now & !self.taint & !TAINT_OF_OTHERS;
        self.taint = now;
        if gained == 0 {
            return;
        }
        let text = format!("the kernel became tainted: {now} (new: {gained}, see /proc/sys/kernel/tainted)");
        let is_explained = news.splats.iter().any(|line| recognise(line) != Some(SplatKind::OutOfMemory));
        let counts = self.reports.ours.is_none() || self.log.is_none() || is_explained;
        if counts { news.splats.push(text) } else { news.remarks.push(text) }
    }
}

/// How many lines after its first a report names its task at the latest. Lockdep prints all its chains before.
const LONGEST_REPORT: u32 = 300;

/// A report whose task is not known yet.
#[derive(Debug)]
struct Open {
    line: String,
    /// Which task or CPU printed it, if the kernel says (CONFIG_PRINTK_CALLER).
    caller: String,
    /// How many lines may still name the task.
    left: u32,
    /// Whether it is a remark already.
    told: bool,
}

/// The reports of a log, told apart by whose they are.
#[derive(Debug)]
struct Reports {
    /// The names of our tasks; none if all tasks are.
    ours: Option<Vec<String>>,
    open: Vec<Open>,
}

impl Reports {
    /// Takes one record of /dev/kmsg.
    fn record(&mut self, record: &str, news: &mut News) {
        let (facility, caller, text) = parse(record);
        if facility != 0 {
            return;
        }
        let kind = recognise(text);
        let Some(ours) = self.ours.as_ref().filter(|_| kind != Some(SplatKind::OutOfMemory)) else {
            news.splats.extend(kind.map(|_| text.to_owned()));
            return;
        };
        if let Some(kind) = kind {
            let left = if kind == SplatKind::Leak { 0 } else { LONGEST_REPORT };
            self.open.push(Open { line: text.to_owned(), caller: caller.to_owned(), left, told: false });
        }
        let owner = names_task(text, ours);
        self.open.retain_mut(|open| {
            if open.caller != caller {
                return true;
            }
            match owner {
                Some(true) => news.splats.push(std::mem::take(&mut open.line)),
                None if open.left > 0 => {
                    open.left -= 1;
                    return true;
                }
                _ if open.told => {}
                _ => news.remarks.push(std::mem::take(&mut open.line)),
            }
            false
        });
    }

    /// Tells of reports whose task is not known yet. The rest of such a report may still be printed: if it then names
    /// a task of ours, it counts.
    fn pause(&mut self, news: &mut News) {
        for open in self.open.iter_mut().filter(|open| !open.told) {
            open.told = true;
            news.remarks.push(open.line.clone());
        }
    }
}

/// Facility, caller and text of a record of /dev/kmsg: `priority,sequence,time,flags[,caller=…];text\n KEY=value…`. A
/// line that is none is taken for the kernel's.
fn parse(record: &str) -> (u32, &str, &str) {
    let (head, text) = record.split_once(';').unwrap_or(("", record));
    let priority: u32 = head.split(',').next().and_then(|priority| priority.parse().ok()).unwrap_or(0);
    let caller = head.split(',').find_map(|field| field.strip_prefix("caller=")).unwrap_or("");
    (priority >> 3, caller, text.lines().next().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reports(own_kernel: bool) -> Reports {
        let names = ["unshare-conform", "unrelated"].map(str::to_owned).to_vec();
        Reports { ours: (!own_kernel).then_some(names), open: Vec::new() }
    }

    /// What counts and what is a remark, of these lines of the kernel's.
    fn heard(own_kernel: bool, lines: &[&str]) -> [Vec<String>; 2] {
        let (mut reports, mut news) = (reports(own_kernel), News::default());
        lines.iter().for_each(|line| reports.record(&format!("4,9,99,-;{line}\n"), &mut news));
        reports.pause(&mut news);
        [news.splats, news.remarks]
    }

    /// A WARN_ON of 6.1 in a task of ours.
    const WARNING: [&str; 6] = [
        "------------[ cut here ]------------",
        "WARNING: CPU: 1 PID: 77 at kernel/fork.c:3000 ksys_unshare+0x3f0/0x410",
        "Modules linked in: virtio_net overlay",
        "CPU: 1 PID: 77 Comm: unshare-conform Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2",
        "RIP: 0010:ksys_unshare+0x3f0/0x410",
        "---[ end trace 0000000000000000 ]---",
    ];

    proptest! {
        #[test]
        fn any_record_is_one_line_of_text(record in "[0-9,;-]{0,12}.{0,40}(\n.{0,20})?") {
            let (.., line) = parse(&record);
            prop_assert!(record.contains(line) && !line.contains('\n'));
            let _ = recognise(line);
        }

        #[test]
        fn a_splat_is_found_behind_any_prefix(prefix in "[0-7],[0-9]{1,9},[0-9]{1,9},[-c]", rest in "\\PC{0,40}") {
            let mut news = News::default();
            reports(true).record(&format!("{prefix};BUG: {rest}\n SUBSYSTEM=x\n"), &mut news);
            prop_assert_eq!(news.splats.len(), 1);
        }
    }

    #[test]
    fn the_parts_of_a_record() {
        assert_eq!(parse("12,1,2,-,caller=T7;WARNING: x\n SUBSYSTEM=a\n"), (1, "T7", "WARNING: x"));
        assert_eq!(parse("odd"), (0, "", "odd"));
    }

    #[test]
    fn what_a_program_writes_to_the_log_is_not_the_kernels() {
        for own_kernel in [false, true] {
            let (mut reports, mut news) = (reports(own_kernel), News::default());
            for facility in [1, 3, 15] {
                let line = "WARNING: fs/x.c:9 at f+0x1/0x9, CPU#0: unshare-conform/7";
                reports.record(&format!("{},1,2,-;{line}\n", facility << 3 | 4), &mut news);
            }
            reports.pause(&mut news);
            assert_eq!(news, News::default());
        }
    }

    #[test]
    fn a_report_of_a_task_of_ours_counts_everywhere() {
        for lines in [
            &WARNING[..],
            &["WARNING: fs/fs_struct.c:90 at copy_fs_struct+0x5/0x90, CPU#0: unshare-conform/77"],
            &["INFO: task unshare-conform:77 blocked for more than 120 seconds."],
            &["INFO: task unshare-conform:77 blocked in I/O wait for more than 122 seconds."],
            &[
                "BUG: kernel NULL pointer dereference, address: 0000000000000008",
                "CPU: 0 PID: 7 Comm: unrelated Tainted: G",
            ],
            &["BUG: Bad rss-counter state mm:00000000 type:MM_ANONPAGES val:1 Comm:unshare-conform Pid:77"],
        ] {
            for own_kernel in [false, true] {
                let [counts, remarks] = heard(own_kernel, lines);
                assert_eq!((counts.len(), remarks.len()), (1, 0), "{lines:?}");
                assert!(lines.contains(&counts[0].as_str()), "{counts:?}");
            }
        }
    }

    #[test]
    fn a_report_of_others_is_a_remark_on_a_shared_host() {
        let theirs =
            WARNING.map(|line| if line.contains("Comm:") { "CPU: 1 PID: 77 Comm: modprobe Not tainted" } else { line });
        for lines in [
            &theirs[..],
            &["WARNING: drivers/x.c:90 at x_probe+0x5/0x90, CPU#0: unshare-conformist/77"],
            &["INFO: task dockerd:77 blocked for more than 120 seconds."],
            &["INFO: task jbd2/vda1-8:77 blocked in I/O wait for more than 122 seconds."],
            &["watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [qemu:9]", "CPU: 0 PID: 9 Comm: qemu Not tainted 6.1"],
            &["rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "task:qemu            state:R  running task"],
            &["unregister_netdevice: waiting for veth1 to become free. Usage count = 2"],
            // It says nothing of who leaked: what is printed next is another report.
            &[
                "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
                "CPU: 0 PID: 7 Comm: unshare-conform Not tainted 6.1.0",
            ],
        ] {
            let [counts, remarks] = heard(false, lines);
            assert_eq!((counts.len(), remarks.len()), (0, 1), "{lines:?}");
            // In a guest of our own nobody else is to blame.
            let [counts, remarks] = heard(true, lines);
            assert_eq!((counts.len(), remarks.len()), (1, 0), "{lines:?}");
        }
    }

    #[test]
    fn running_out_of_memory_is_told_whoever_ran_out() {
        let line = "Memory cgroup out of memory: Killed process 77 (java) total-vm:1kB";
        assert_eq!(heard(false, &[line])[0], [line]);
    }

    #[test]
    fn taint_counts_if_nothing_says_that_it_is_of_others() {
        const WARN: u64 = 1 << 9;
        const OUT_OF_TREE: u64 = 1 << 12;
        let ours = "WARNING: a.c:1 at f+0x1/0x9, CPU#0: unshare-conform/7";
        let oom = "Out of memory: Killed process 77 (java)";
        for (own_kernel, readable, logged, gained, expected) in [
            (false, true, None, WARN, [0, 1]),
            (false, true, Some(oom), WARN, [1, 1]),
            (false, true, Some(ours), WARN, [2, 0]),
            (false, false, None, WARN, [1, 0]),
            (true, true, None, WARN, [1, 0]),
            (true, true, None, OUT_OF_TREE, [0, 0]),
            (false, false, None, OUT_OF_TREE, [0, 0]),
        ] {
            let log = readable.then(|| File::open("/dev/null").unwrap());
            let mut log = KernelLog { log, taint: 1 << 7, reports: reports(own_kernel) };
            let mut news = News { splats: logged.into_iter().map(str::to_owned).collect(), ..News::default() };
            log.tainted(1 << 7 | gained, &mut news);
            assert_eq!([news.splats.len(), news.remarks.len()], expected, "{news:?}");
            // It is news but once.
            log.tainted(1 << 7 | gained, &mut news);
            assert_eq!([news.splats.len(), news.remarks.len()], expected, "{news:?}");
        }
    }

    #[test]
    fn reports_are_told_apart_by_who_prints_them() {
        let (mut reports, mut news) = (reports(false), News::default());
        for (caller, line) in [
            ("T7", "WARNING: CPU: 0 PID: 7 at a.c:1 f+0x1/0x9"),
            ("T9", "WARNING: CPU: 1 PID: 9 at b.c:1 g+0x1/0x9"),
            ("T9", "CPU: 1 PID: 9 Comm: dockerd Not tainted 6.18"),
            ("T7", "CPU: 0 PID: 7 Comm: unshare-conform Not tainted 6.18"),
        ] {
            reports.record(&format!("4,1,2,-,caller={caller};{line}\n"), &mut news);
        }
        assert!(news.splats[0].contains("a.c") && news.remarks[0].contains("b.c"), "{news:?}");
    }

    #[test]
    fn a_report_that_was_read_half_counts_once_it_names_us() {
        let (mut reports, mut news) = (reports(false), News::default());
        for part in WARNING.chunks(2) {
            part.iter().for_each(|line| reports.record(&format!("4,1,2,-;{line}\n"), &mut news));
            reports.pause(&mut news);
        }
        assert_eq!((news.splats.len(), news.remarks.len()), (1, 1));
    }
}
